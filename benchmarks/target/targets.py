"""The targets: 80, 90 and 95 % of GRPO's gain on its mean smoothed curve, fixed before any other allocator runs.

Owns: computing the targets and their file. Invariant: a target that is there is not overwritten unless it is asked for:
targets that move with the results are none (docs/comparing.md).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.target.curves import Axis, curve_of, mean_curve, smoothed
from benchmarks.target.record import Record
from scheduler.core.errors import Conflict, InvalidInput

PATH = Path(__file__).parent / "targets.json"
SHARES = (0.80, 0.90, 0.95)
"""Of GRPO's gain."""


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """The targets of one pool."""

    start: float
    """GRPO's held-out accuracy before training."""
    end: float
    """The highest point of its mean smoothed curve."""
    seeds: tuple[int, ...]
    """Of the runs they come from."""
    accuracy: dict[str, float]
    """By share of the gain, in per cent."""

    @property
    def highest(self) -> float:
        """The last one to be reached."""
        return max(self.accuracy.values())


def targets_of(baseline: Sequence[Record]) -> Targets:
    """The targets that GRPO's runs set; raises InvalidInput if there are none, or they gained nothing."""
    if not baseline:
        raise InvalidInput("there are no runs of GRPO to take targets from")
    mean = mean_curve([smoothed(curve_of(record, Axis.ROLLOUTS)) for record in baseline])
    start, end = mean.accuracy[0], max(mean.accuracy)
    if end <= start:
        raise InvalidInput(f"GRPO gained nothing: {start:.4f} before, at most {end:.4f} afterwards")
    return Targets(
        start=round(start, 6),
        end=round(end, 6),
        seeds=tuple(record.header.seed for record in baseline),
        accuracy={f"{share:.0%}".rstrip("%"): round(start + share * (end - start), 6) for share in SHARES},
    )


def load(path: Path = PATH) -> dict[str, Targets]:
    """The targets by pool; none where none were fixed."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Targets]) if path.exists() else {}


def fix(pool: str, targets: Targets, path: Path = PATH, *, force: bool = False) -> None:
    """Write a pool's targets; raises Conflict if it has others already, unless forced."""
    known: Mapping[str, Targets] = load(path)
    if not force and known.get(pool, targets) != targets:
        raise Conflict(f"the targets of {pool} are fixed in {path.name}: --force replaces them, and then all is rerun")
    path.write_bytes(msgspec.json.format(msgspec.json.encode({**known, pool: targets}), indent=2) + b"\n")
