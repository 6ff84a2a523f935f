"""What a server is asked before it is attached, and what it says of a folder that it does not see."""

from pathlib import Path

import pytest

from scheduler.core.errors import WeightsUnread
from scheduler.fleet.alikeness import TEXTS
from scheduler.tokenizers import load_tokenizer
from tests.contract.subject import Subject

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_server_says_what_its_tokenizer_makes_of_texts(server: Subject) -> None:
    own = load_tokenizer(server.old)
    assert await server.client.tokenized(TEXTS) == tuple(own.encode_bare(text) for text in TEXTS)


async def test_a_server_says_what_it_computes_in_and_is_no_gateway(server: Subject) -> None:
    launched = await server.client.server_info()
    assert (launched.dtype, launched.quantization) == ("float32", "")
    assert not await server.client.is_gateway()


async def test_a_folder_that_a_server_does_not_see_is_told_apart_from_other_failures(server: Subject) -> None:
    with pytest.raises(WeightsUnread, match="the weights were not updated"):
        await server.client.update_weights(Path("/nowhere/to/be/seen"), server.label(2))
    assert (await server.client.model_info()).weight_version == str(server.label(1)), "it keeps what it had"
