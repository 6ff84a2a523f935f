"""A comparison as far as it has been made: its records, its targets, and what they come to.

Owns: which records belong to it. Invariant: GRPO's are those of the comparison that it names as its baseline, if any.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.target import settings, targets
from benchmarks.target.analysis import Cell, cells
from benchmarks.target.record import Record, read_all
from benchmarks.target.targets import Targets
from scheduler.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One comparison."""

    comparison: str
    pool: str
    targets: Targets
    records: tuple[Record, ...]
    """GRPO's first."""
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, comparison: str, results: Path) -> Self:
        """What there is of a comparison; raises InvalidInput for one that is unknown or has no targets yet."""
        table = settings.load().comparison(comparison)
        fixed = targets.load().get(table.pool)
        if fixed is None:
            raise InvalidInput(f"pool {table.pool} has no targets: run GRPO and then `targets`", field="comparison")
        baseline = baseline_of(comparison, results)
        own = [made for made in read_all(results / comparison) if made.header.name != settings.BASELINE]
        records = (*baseline, *own)
        return cls(
            comparison=comparison,
            pool=table.pool,
            targets=fixed,
            records=records,
            cells=tuple(cells(records, baseline, fixed)),
        )


def baseline_of(comparison: str, results: Path) -> list[Record]:
    """GRPO's records of a comparison, or of the one that it takes them from."""
    source = settings.load().comparison(comparison).baseline or comparison
    return [made for made in read_all(results / source) if made.header.name == settings.BASELINE]
