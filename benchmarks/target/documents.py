"""The tables of results that stand in documents.

Owns: which documents, and how a table's place is marked: `<!-- results: COMPARISON SHARE… -->` before it, and
`<!-- end of results -->` after it; no share means all. Invariant: what stands outside of the marks is not touched.
"""

import re
from pathlib import Path

from benchmarks.origin import ROOT
from benchmarks.target.compared import Compared
from benchmarks.target.report import markdown

PATHS = (ROOT / "README.md", ROOT / "docs" / "comparing.md")

_PLACE = re.compile(r"(<!-- results: (\w+)([ \d]*) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def filled(text: str, results: Path) -> str:
    """The document with its tables as the records have them; raises InvalidInput for an unknown comparison."""

    def table(place: re.Match[str]) -> str:
        before, comparison, shares, after = place.groups()
        compared = Compared.of(comparison, results)
        return before + markdown(compared.cells, compared.targets, shares.split()) + after

    return _PLACE.sub(table, text)
