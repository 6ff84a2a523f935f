"""The figures of docs/state.md are those that docs/performance.md has measured, and its versions those of the code."""

from pathlib import Path

import pytest

from scheduler.state.keys import SCHEMA, SCHEMA_VERSION
from scheduler.state.survey import OLDEST_VERSION
from scheduler.state.table import HISTORY_LENGTH

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "state.md").read_text()
MEASURED = (DOCS / "performance.md").read_text()
FIGURES = (
    "432 bytes a prompt",
    "469 bytes a prompt",
    "7,886 bytes a prompt",
    "4.15 MiB",
    "0.55 ms a rollout",
    "0.0483 ms a rollout",
    "0.0137 ms a rollout",
    "10,240 rollouts in flight",
)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_a_measured_one(figure: str) -> None:
    assert figure in PAGE
    assert figure in MEASURED, "measured anew: correct docs/state.md"


@pytest.mark.parametrize(("figure", "measured"), [("321 MiB/s", "321 of 870 MiB/s"), ("0.67 MiB", "0.668 MiB")])
def test_a_figure_that_is_told_shorter_is_a_measured_one(figure: str, measured: str) -> None:
    assert figure in PAGE
    assert measured in MEASURED, "measured anew: correct docs/state.md"


def test_versions_and_limits_are_those_of_the_code() -> None:
    assert f"schema version**, {SCHEMA_VERSION} now, in the key `{SCHEMA}`" in PAGE
    assert f"Redis {'.'.join(map(str, OLDEST_VERSION))} or newer" in PAGE
    assert f"the newest {HISTORY_LENGTH} are kept" in PAGE
