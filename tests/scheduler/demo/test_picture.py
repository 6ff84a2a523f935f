"""The picture of a run."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib import image

from scheduler.core.ledger import Outcome
from scheduler.core.types import Verdict
from scheduler.demo.history import RunHistory
from scheduler.demo.picture import draw
from tests.scheduler.demo.values import make_accuracy, make_history, make_point

FULL = make_history(
    make_point(accuracy=make_accuracy(0.4)),
    make_point(elapsed_s=60, step=1, pilots=100, commits=60, outcomes={Outcome.TRAINED: 60, Outcome.SKIPPED: 40}),
    make_point(
        elapsed_s=120,
        step=2,
        pilots=200,
        commits=130,
        outcomes={Outcome.TRAINED: 130, Outcome.SKIPPED: 80, Outcome.LOST: 3},
        skip_rates={Verdict.SKIP: 0.2, Verdict.DEFER: 0.3},
        accuracy=make_accuracy(0.6),
    ),
    uniform_rollouts=600,
)


@pytest.mark.parametrize(
    "history", [FULL, make_history(make_point()), make_history(*FULL.points[1:2])], ids=["full", "empty", "one point"]
)
def test_any_run_can_be_drawn_titled_with_its_finding(history: RunHistory, tmp_path: Path) -> None:
    png, svg = draw(history, tmp_path / "new" / "folder", "demo")
    assert (png.name, svg.name) == ("demo.png", "demo.svg")
    assert image.imread(png).shape[:2] == (1000, 1600)
    title = ElementTree.parse(svg).find(".//{http://purl.org/dc/elements/1.1/}title")
    assert title is not None
    assert title.text == history.finding


def test_the_same_history_is_drawn_the_same(tmp_path: Path) -> None:
    first, second = draw(FULL, tmp_path, "first"), draw(FULL, tmp_path, "second")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_more_accuracy_changes_the_picture(tmp_path: Path) -> None:
    better = make_history(*FULL.points[:2], make_point(elapsed_s=120, pilots=330, accuracy=make_accuracy(0.9)))
    first, second = draw(FULL, tmp_path, "first"), draw(better, tmp_path, "second")
    assert (image.imread(first[0]) != image.imread(second[0])).any()
