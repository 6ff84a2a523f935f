"""The dashboards that ship are those of the code, and Grafana's own types know all that is in them."""

import json
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from deploy.grafana.__main__ import FOLDER
from deploy.grafana.board import Board, Look
from deploy.grafana.boards import BOARDS
from deploy.grafana.drawing import drawn, read_back

pytestmark = pytest.mark.dashboards

PROVISIONING = Path(FOLDER).parent / "provisioning"
of_each_board = pytest.mark.parametrize("board", BOARDS, ids=[board.name for board in BOARDS])


@of_each_board
def test_a_dashboard_that_ships_is_what_the_code_draws(board: Board) -> None:
    assert (FOLDER / f"{board.name}.json").read_text() == drawn(board), "run `make dashboards`"


def test_nothing_else_is_in_their_folder() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {board.name for board in BOARDS}


@of_each_board
def test_grafanas_types_know_everything_in_it(board: Board) -> None:
    assert read_back(drawn(board)) == drawn(board)


def test_what_grafanas_types_do_not_know_does_not_come_back() -> None:
    text = drawn(BOARDS[0])
    assert read_back(text.replace('"uid":', '"uidd":', 1)) != text


@of_each_board
def test_every_panel_says_what_it_shows_in_which_unit(board: Board) -> None:
    panels = [panel for panel in json.loads(drawn(board))["panels"] if panel["type"] != "row"]
    assert panels
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["expr"]
            assert target["legendFormat"]
            assert target["datasource"]["uid"] == "${datasource}"


@of_each_board
def test_panels_lie_side_by_side_and_not_on_each_other(board: Board) -> None:
    cells = [
        {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        for panel in json.loads(drawn(board))["panels"]
        for place in (panel["gridPos"],)
    ]
    assert not any(one & other for one, other in combinations(cells, 2))
    assert all(0 <= x < 24 for panel in cells for x, _ in panel)


@of_each_board
def test_panels_have_numbers_of_their_own(board: Board) -> None:
    numbers = [panel["id"] for panel in json.loads(drawn(board))["panels"]]
    assert len(numbers) == len(set(numbers))


@of_each_board
def test_a_dashboard_is_looked_at_by_data_source_pool_and_run(board: Board) -> None:
    variables = json.loads(drawn(board))["templating"]["list"]
    assert [variable["name"] for variable in variables] == ["datasource", "pool", "run"]


def test_what_a_query_knows_of_the_look_is_passed_on() -> None:
    [histogram] = [
        panel for board in BOARDS for panel in json.loads(drawn(board))["panels"] if panel["type"] == "heatmap"
    ]
    assert [target["format"] for target in histogram["targets"]] == ["heatmap"]
    assert Look.HISTOGRAM in {panel.look for board in BOARDS for row in board.rows for panel in row.panels}


def test_grafana_is_provisioned_with_the_prometheus_of_the_deployment_and_a_folder_of_dashboards() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    scraped = yaml.safe_load((FOLDER.parents[1] / "prometheus" / "prometheus.yml").read_text())
    # Or $__rate_interval would be shorter than two scrapes, and every rate empty.
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "pilotcommit.yml").read_text())["providers"]
    assert provider["type"] == "file"
