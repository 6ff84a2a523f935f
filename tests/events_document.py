"""The table of logged events in docs/operations.md, as tests hold it against the source and against what is logged."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
_ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \|([\w, ]*)\|", re.MULTILINE)


def documented() -> dict[str, frozenset[str]]:
    """The ids that each documented event carries."""
    text = (ROOT / "docs/operations.md").read_text()
    section = text.partition("## Events in the logs")[2].partition("\n## ")[0]
    return {
        event: frozenset(filter(None, re.split(r",? +", ids)))
        for events, ids in _ROW.findall(section)
        for event in re.findall(r"\w+", events)
    }


def undocumented(logged: Iterable[Mapping[str, object]]) -> list[str]:
    """What is wrong with logged lines: an event that the table lacks, or an id that a line lacks."""
    table = documented()
    wrong = []
    for line in logged:
        event = str(line["event"])
        if event not in table:
            wrong.append(f"{event} is not documented")
            continue
        wrong += [f"{event} lacks {name}" for name in table[event] if line.get(name) in (None, "")]
    return sorted(set(wrong))
