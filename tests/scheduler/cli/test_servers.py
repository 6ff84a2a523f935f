"""`pilotcommit server`."""

import json

from tests.scheduler.cli.conftest import Command


async def test_a_fleet_without_servers_says_how_to_name_them(pilotcommit: Command) -> None:
    said = await pilotcommit("server", "list")
    assert said.code == 0
    assert "PILOTCOMMIT_SERVERS" in said.out
    assert json.loads((await pilotcommit("server", "list", "--json")).out) == []
