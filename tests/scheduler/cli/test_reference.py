"""docs/cli.md is what the commands are."""

import re
from pathlib import Path

from scheduler.cli.reference import reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"


def test_every_command_is_in_the_document_as_it_is() -> None:
    assert reference() in DOCUMENT.read_text(), "run `python -m scheduler.cli.reference` and put it into docs/cli.md"


def test_every_command_says_what_it_does_in_a_line() -> None:
    rows = re.findall(r"^\| `(.+)` \| (.*) \|$", reference(), flags=re.MULTILINE)
    assert len(rows) > 30
    assert all(0 < len(told) < 160 for _, told in rows)
