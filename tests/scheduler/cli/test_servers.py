"""`pilotcommit server`."""

import json

from tests.scheduler.cli.conftest import Command, Said


async def test_a_fleet_without_servers_says_how_to_name_them(pilotcommit: Command) -> None:
    said = await pilotcommit("server", "list")
    assert said.code == 0
    assert "PILOTCOMMIT_SERVERS" in said.out
    assert json.loads((await pilotcommit("server", "list", "--json")).out) == []


def answer(said: Said) -> dict[str, str]:
    """The JSON that was printed, after what the scheduler of the same process logged."""
    found: dict[str, str] = json.loads(said.out[said.out.index("{") :])
    return found


async def test_a_server_is_added_drained_resumed_and_removed_by_its_id_or_address(pilotcommit: Command) -> None:
    added = answer(await pilotcommit("server", "add", "http://127.0.0.1:1/", "--json"))
    assert (added["url"], added["standing"], added["state"]) == ("http://127.0.0.1:1", "serving", "starting")
    assert "drained" in (await pilotcommit("server", "drain", added["server_id"])).out
    assert "serving" in (await pilotcommit("server", "resume", added["url"])).out
    removed = answer(await pilotcommit("server", "remove", added["url"], "--now", "--json"))
    assert removed["standing"] == "leaving"


async def test_an_order_that_cannot_be_followed_says_why(pilotcommit: Command) -> None:
    refused = await pilotcommit("server", "add", "http://user:hunter2@node")
    assert refused.code != 0
    assert "PILOTCOMMIT_API_KEY" in refused.err
    assert "hunter2" not in refused.err
    unknown = await pilotcommit("server", "drain", "s-none")
    assert unknown.code != 0
    assert "pilotcommit server list" in unknown.err


async def test_labels_are_given_with_an_option_and_a_wrong_one_is_named(pilotcommit: Command) -> None:
    added = await pilotcommit("server", "add", "http://127.0.0.1:1", "--label", "gpu=h100", "--label", "zone=a")
    assert "gpu=h100, zone=a" in added.out
    refused = await pilotcommit("server", "add", "http://127.0.0.1:2", "--label", "gpu")
    assert refused.code == 2
    assert "--label" in refused.err
    assert "NAME=VALUE" in refused.err


async def test_what_is_no_gateway_is_not_taken_for_one(pilotcommit: Command) -> None:
    refused = await pilotcommit("server", "add", "--gateway", "http://127.0.0.1:1")
    assert refused.code != 0
