"""The tables of results that stand in documents: `python -m benchmarks.documents` writes them anew.

Owns: which documents, and how a table's place is marked: `<!-- results: COMPARISON SHARE… -->` for rollouts to a target
accuracy (no share means all), `<!-- figures: BENCHMARK -->` for the figures of another benchmark, and
`<!-- end of results -->` after either. Invariant: what stands outside of the marks is not touched.
"""

import re
import sys
from pathlib import Path

from benchmarks.figures import read
from benchmarks.origin import RESULTS, ROOT
from benchmarks.target.compared import Compared
from benchmarks.target.report import markdown

PATHS = (ROOT / "README.md", ROOT / "docs" / "comparing.md", ROOT / "docs" / "performance.md")

_PLACE = re.compile(r"(<!-- (results|figures): (\w+)([ \d]*) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def filled(text: str, results: Path = RESULTS) -> str:
    """The document with its tables as the records have them.

    Raises InvalidInput for an unknown comparison, NotFound for a benchmark without a report.
    """

    def table(place: re.Match[str]) -> str:
        before, kind, name, shares, after = place.groups()
        if kind == "figures":
            return before + read(name, results).markdown() + after
        compared = Compared.of(name, results / "target")
        return before + markdown(compared.cells, compared.targets, shares.split()) + after

    return _PLACE.sub(table, text)


def main() -> None:
    """Write every document's tables."""
    for path in PATHS:
        path.write_text(filled(path.read_text()))
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
