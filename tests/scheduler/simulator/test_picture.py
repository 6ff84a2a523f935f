from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib import image

from scheduler.simulator.comparison import compare
from scheduler.simulator.picture import draw
from scheduler.simulator.pool import PoolName
from tests.scheduler.simulator.comparisons import make_plan

BOTH = (PoolName.BROAD, PoolName.DRIFTING)


@pytest.mark.parametrize(
    ("pools", "height"), [(BOTH, 1045), (BOTH[:1], 585), (BOTH[1:], 1045)], ids=["both", "static", "drifting"]
)
def test_any_comparison_can_be_drawn_titled_with_its_finding(
    pools: tuple[PoolName, ...], height: int, tmp_path: Path
) -> None:
    plan = make_plan("grpo", "dapo", pools=pools)
    png, svg = draw(plan, compare(plan), tmp_path / "new" / "folder")

    assert (png.name, svg.name) == ("simulation.png", "simulation.svg")
    assert image.imread(png).shape[:2] == (height, 1600)
    title = ElementTree.parse(svg).find(".//{http://purl.org/dc/elements/1.1/}title")
    assert title is not None
    assert title.text == f"grpo gets the most signal from a rollout on {len(pools)} of {len(pools)} modelled pools"


def test_the_same_comparison_is_drawn_the_same(tmp_path: Path) -> None:
    plan = make_plan("grpo", pools=BOTH)
    first, second = draw(plan, compare(plan), tmp_path, "first"), draw(plan, compare(plan), tmp_path, "second")

    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
