"""Names are resolved once, and what was checked is what is connected to."""

from collections.abc import Collection
from ipaddress import ip_address

import httpx
import pytest

from inference.pinned import Pinned
from scheduler.core.errors import InvalidInput
from scheduler.core.reachable import LOCAL, Address, Place, Reachable
from scheduler.destinations import destination


class _Rebinding:
    """A name server that says something else each time."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def __call__(self, place: Place) -> Collection[Address]:
        return [ip_address(self.answers.pop(0))]


async def test_a_name_that_is_rebound_is_still_connected_to_where_it_was_checked() -> None:
    names = _Rebinding("10.0.0.7", "169.254.169.254")
    address = await destination("http://server:30000", Reachable.of(LOCAL), field="url", resolver=names)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200)

    transport = Pinned(httpx.MockTransport(answer), address)
    async with httpx.AsyncClient(transport=transport, base_url="http://server:30000") as http:
        await http.get("/ready")
    assert (str(asked[0].url), asked[0].headers["host"]) == ("http://10.0.0.7:30000/ready", "server:30000")
    assert asked[0].extensions["sni_hostname"] == "server"
    assert len(names.answers) == 1, "it was resolved once"


async def test_a_name_that_leads_where_it_may_not_is_refused() -> None:
    with pytest.raises(InvalidInput, match="never allowed"):
        await destination("http://s", Reachable.of(LOCAL), field="url", resolver=_Rebinding("169.254.169.254"))


async def test_addresses_need_no_name_server() -> None:
    assert await destination("http://127.0.0.1:30000", Reachable.of(LOCAL), field="url") == "127.0.0.1"
    for disguised in ("http://2130706433", "http://0x7f.1", "http://127.1"):
        # The resolver reads these as 127.0.0.1 too: they are judged by that.
        with pytest.raises(InvalidInput):
            await destination(disguised, Reachable.of(("10.0.0.0/8",)), field="url")


async def test_a_name_that_nobody_knows_is_invalid_input() -> None:
    async def silent(place: Place) -> Collection[Address]:
        raise TimeoutError

    with pytest.raises(InvalidInput, match="cannot be resolved") as refusal:
        await destination("http://server", Reachable.of(LOCAL), field="servers.0", resolver=silent)
    assert refusal.value.field == "servers.0"
