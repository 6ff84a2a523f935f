"""Tables of results in documents are what the records say."""

from pathlib import Path

import pytest

from benchmarks.target.commands import RESULTS
from benchmarks.target.documents import PATHS, filled
from scheduler.core.errors import InvalidInput


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_every_table_is_what_the_records_say(path: Path) -> None:
    text = path.read_text()
    assert "<!-- results: equal_mixed" in text
    assert filled(text, RESULTS) == text, "write it anew: python -m benchmarks.target document"


def test_only_what_is_between_the_marks_is_written() -> None:
    before, after = "Before.\n\n<!-- results: equal_mixed 80 -->\n", "<!-- end of results -->\n\nAfter.\n"
    text = filled(f"{before}old\n{after}", RESULTS)
    assert text.startswith(f"{before}**80 % of GRPO's gain**")
    assert text.endswith(after)
    assert "old" not in text
    assert text.count("of GRPO's gain") == 1


def test_a_comparison_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidInput, match="no_such_one"):
        filled("<!-- results: no_such_one -->\n<!-- end of results -->", RESULTS)
