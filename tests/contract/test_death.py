"""How a server dies, and what a client sees of it, on both servers."""

import pytest

from scheduler.core.errors import ServerRefused, ServerUnavailable
from tests.contract.subject import API_KEY, Subject
from tests.tiny_model import VOCAB_SIZE

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_token_id_outside_the_vocabulary_is_never_sent(server: Subject) -> None:
    with pytest.raises(ServerRefused, match=f"token id {VOCAB_SIZE} at position 1"):
        await server.client.generate(server.request("a", ids=(7, VOCAB_SIZE)))
    assert await server.client.is_ready()


async def test_a_token_id_outside_the_vocabulary_would_kill_the_server(server: Subject) -> None:
    """The real one is started again by its supervisor, with the current weights."""
    body = server.raw("killer") | {"input_ids": [VOCAB_SIZE + 1000]}
    with pytest.raises(Exception, match=r"disconnected|peer closed|connection|Connection|ReadError"):
        await server.post("/generate", body, key=API_KEY)
    with pytest.raises(ServerUnavailable):
        await server.client.generate(server.request("after"))
    assert not await server.client.is_ready()
    if server.fake is not None:
        server.fake.restart(model_path=str(server.new), weight_version="unconfirmed")
    await server.polled(server.client.is_ready, deadline_s=150.0)
    assert server.supervisor is None or server.supervisor.num_restarts == 1
    info = await server.client.model_info()
    assert (info.model_path, info.weight_version) == (str(server.new), "unconfirmed")
