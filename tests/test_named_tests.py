"""Every test that a document names is there, and so is every make target that stands for one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RELIABILITY, TESTED = ROOT / "docs" / "reliability.md", ROOT / "docs" / "tested.md"
NAMED = sorted(
    {pair for page in (RELIABILITY, TESTED) for pair in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text())}
)


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def rows(page: str, head: str) -> list[str]:
    """Those of a page's tables, but for their heads."""
    return [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(head)]


def test_every_failure_names_a_test() -> None:
    # The chaos run's figures are a table of another kind.
    failures, _, _ = RELIABILITY.read_text().partition("## Chaos")
    assert not [row for row in rows(failures, "| what happens") if "::" not in row]


def test_every_way_through_names_its_proof() -> None:
    assert not [row for row in rows(TESTED.read_text(), "| way ") if "::" not in row and "`make " not in row]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([\w-]+)`", TESTED.read_text()))))
def test_a_target_that_is_named_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
