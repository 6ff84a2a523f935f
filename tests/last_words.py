"""The end of every log, for a report that has nothing else."""

from collections.abc import Iterable
from pathlib import Path

_TAIL_LINES = 25


def last_words(logs: Iterable[Path]) -> str:
    """The last lines of each, under its path."""
    return "\n".join(f"the end of {log}:\n" + "\n".join(_lines(log)[-_TAIL_LINES:]) for log in logs)


def _lines(log: Path) -> list[str]:
    """Without the calls that SGLang lists by the hundred."""
    return [line for line in log.read_text(errors="replace").splitlines() if '"POST /generate' not in line]
