"""Which server an attempt goes to."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from inference.client import ServerClient
from inference.protocol import ModelLimits
from scheduler.core.lifecycle import ServerState, Standing
from scheduler.core.types import Stage
from scheduler.fleet import Server
from scheduler.fleet.dispatcher import Dispatcher
from scheduler.fleet.dispatcher import choose as choose_of
from scheduler.fleet.preferences import Preferences, preference

KEYS = [f"prompt-{number}" for number in range(300)]


def make_servers(count: int = 4, *, capacity: int = 8) -> list[Server]:
    limits = ModelLimits(vocab_size=64, context_length=64)
    return [
        Server(client=ServerClient(f"http://s{number}", limits), capacity=capacity, state=ServerState.HEALTHY)
        for number in range(count)
    ]


def choose(servers: list[Server], key: str) -> Server:
    """Where an attempt with this key goes."""
    candidates = [server for server in preference(servers, key) if server.is_open]
    return choose_of(candidates, has_home=bool(key))


def test_attempts_for_one_prompt_have_one_home_and_prompts_are_spread() -> None:
    servers = make_servers()
    homes = {key: choose(servers, key) for key in KEYS}
    assert all(choose(servers, key) is homes[key] for key in KEYS)
    spread = Counter(server.url for server in homes.values())
    assert len(spread) == 4
    assert min(spread.values()) > 40


def test_a_home_that_is_much_fuller_than_others_is_left() -> None:
    servers = make_servers()
    home = choose(servers, "a")
    for taken in range(3):
        assert choose(servers, "a") is home, taken
        home.took()
    assert choose(servers, "a") is not home
    for server in servers:
        if server is not home:
            server.took()
    assert choose(servers, "a") is home


@pytest.mark.parametrize("state", [state for state in ServerState if state is not ServerState.HEALTHY])
def test_only_the_prompts_of_a_server_that_is_closed_move(state: ServerState) -> None:
    servers = make_servers()
    homes = {key: choose(servers, key) for key in KEYS}
    servers[1].state = state
    moved = Counter(choose(servers, key).url for key, home in homes.items() if home is servers[1])
    assert all(choose(servers, key) is home for key, home in homes.items() if home is not servers[1])
    assert len(moved) == 3, "its prompts are spread over the others"


def test_a_server_that_joins_or_leaves_moves_the_prompts_of_its_own_alone() -> None:
    servers = make_servers(5)
    without = {key: choose(servers[:4], key) for key in KEYS}
    joined = {key: choose(servers, key) for key in KEYS}
    moved = [key for key in KEYS if joined[key] is not without[key]]
    assert all(joined[key] is servers[4] for key in moved)
    assert len(KEYS) / 5 * 0.6 < len(moved) < len(KEYS) / 5 * 1.4


@pytest.mark.parametrize("standing", [standing for standing in Standing if standing is not Standing.SERVING])
def test_a_server_that_operators_withdrew_gets_nothing(standing: Standing) -> None:
    servers = make_servers(2)
    servers[0].stand(standing)
    assert {choose(servers, key).url for key in KEYS} == {servers[1].url}


def test_a_home_that_loses_attempts_is_left_for_one_that_does_not() -> None:
    servers = make_servers(2)
    home = choose(servers, "a")
    home.losses = 1
    other = choose(servers, "a")
    assert other is not home
    other.losses = 2
    assert choose(servers, "a") is home


def test_without_a_key_the_emptiest_is_next() -> None:
    servers = make_servers(3)
    servers[0].took()
    servers[1].took()
    assert choose(servers, "") is servers[2]
    servers[2].state = ServerState.DRAINING
    assert choose(servers, "") in servers[:2]


def test_an_order_is_worked_out_once_for_a_key_and_anew_for_another_fleet() -> None:
    servers = make_servers(5)
    preferences = Preferences(servers)
    order = preferences.of("a")
    assert preferences.of("a") is order
    assert list(order) == preference(servers, "a")
    gone = servers.pop(2)
    assert list(preferences.of("a")) == [server for server in order if server is not gone]


async def test_attempts_fill_a_large_fleet_evenly_and_wait_where_there_is_no_room() -> None:
    servers = make_servers(100, capacity=4)
    dispatcher = Dispatcher(servers)
    dispatcher.dispatch()
    async with AsyncExitStack() as slots:
        for number in range(400):
            await slots.enter_async_context(dispatcher.slot(Stage.PILOT, f"prompt-{number}"))
        assert {server.in_flight for server in servers} == {4}
        one_more = asyncio.create_task(slots.enter_async_context(dispatcher.slot(Stage.PILOT, "late")))
        await asyncio.sleep(0)
        assert not one_more.done()
        # A server that grows is noticed when the fleet is looked at again.
        servers[7].capacity = 5
        dispatcher.dispatch()
        assert (await one_more).server is servers[7]
