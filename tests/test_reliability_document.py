"""Every test that the document on reliability names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "reliability.md").read_text())))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_every_row_names_a_test() -> None:
    # The chaos run's figures are a table of another kind.
    failures, _, _ = (ROOT / "docs" / "reliability.md").read_text().partition("## Chaos")
    rows = [line for line in failures.splitlines() if line.startswith("| ")]
    without = [row for row in rows if "::" not in row and not row.startswith("| what happens")]
    assert not without
