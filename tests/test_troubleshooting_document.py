"""docs/troubleshooting.md quotes what the product says: every quotation is found in the source."""

import ast
import gc
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GAP = "…"
"""What differs from one time to the next: values in the source, and whatever the document leaves out."""
_ROW = re.compile(r"^\| (.+?) \| .+ \| .+ \|$", re.MULTILINE)


def quotations() -> list[str]:
    """The code in the first column of the document's tables."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    return [quoted for cell in _ROW.findall(text) for quoted in re.findall(r"`(.+?)`(?=,|$| )", cell)]


def texts() -> Iterator[str]:
    """Every text in what is shipped, with a gap for each value that is put into it."""
    # Without a collection in between, as in the test of the events.
    gc.disable()
    try:
        for package in ("scheduler", "learner", "inference"):
            for path in sorted((ROOT / package).rglob("*.py")):
                yield from (_text(node) for node in ast.walk(ast.parse(path.read_text())))
    finally:
        gc.enable()


def _text(node: ast.AST) -> str:
    match node:
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) for part in parts)
        case ast.Constant(value=str(text)):
            return text
    return GAP if isinstance(node, ast.FormattedValue) else ""


SAID = {text for text in texts() if text.strip(GAP)}


def is_said(quoted: str) -> bool:
    """Whether some text has all parts of a quotation, in their order."""
    parts = [part.strip() for part in quoted.split(GAP) if part.strip()]
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    return any(pattern.search(text) for text in SAID)


def test_there_is_much_to_quote() -> None:
    assert len(quotations()) > 50


@pytest.mark.parametrize("quoted", quotations())
def test_what_is_quoted_is_said(quoted: str) -> None:
    assert is_said(quoted)


def test_what_nobody_says_is_found_out() -> None:
    assert is_said("Redis does not answer: …")
    assert not is_said("Redis is out to lunch: …")
