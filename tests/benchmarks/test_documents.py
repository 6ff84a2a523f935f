"""Tables of results in documents are what the records say."""

from pathlib import Path

import pytest

from benchmarks.documents import PATHS, filled
from benchmarks.figures import Figure, Report
from scheduler.core.errors import InvalidInput, NotFound


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_every_table_is_what_the_records_say(path: Path) -> None:
    text = path.read_text()
    assert "<!-- end of results -->" in text
    assert filled(text) == text, "write it anew: python -m benchmarks.documents"


def test_only_what_is_between_the_marks_is_written() -> None:
    before, after = "Before.\n\n<!-- results: equal_mixed 80 -->\n", "<!-- end of results -->\n\nAfter.\n"
    text = filled(f"{before}old\n{after}")
    assert text.startswith(f"{before}**80 % of GRPO's gain**")
    assert text.endswith(after)
    assert "old" not in text
    assert text.count("of GRPO's gain") == 1


def test_a_table_of_figures_is_the_newest_report_s(tmp_path: Path) -> None:
    report = Report.of("engine", [Figure(what="busy", value=0.99, target=0.98)], {}, seconds=1.0)
    report.write(tmp_path)
    text = filled("<!-- figures: engine -->\nold\n<!-- end of results -->", tmp_path)
    assert text == f"<!-- figures: engine -->\n{report.markdown()}<!-- end of results -->"


def test_a_comparison_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidInput, match="no_such_one"):
        filled("<!-- results: no_such_one -->\n<!-- end of results -->")


def test_a_benchmark_without_a_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="engine"):
        filled("<!-- figures: engine -->\n<!-- end of results -->", tmp_path)
