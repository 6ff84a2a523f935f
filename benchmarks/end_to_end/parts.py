"""Where the seconds of a step went.

Owns: the parts of either side. Pure. Invariants: the parts that follow one another add up to the wall-clock; what goes
on at the same time is kept apart from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from benchmarks.end_to_end.plan import TRL
from benchmarks.target.record import Record

GENERATION, LEARNING, PUBLISH, EVALUATION = "generation", "learning", "publish", "evaluation"
WAITING, REST = "waiting for groups", "rest"
PUSH, SCHEDULER = "push", "scheduler"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepParts:
    """Mean seconds of a step."""

    one_after_another: Mapping[str, float]
    """As the trainer lives through them: they add up to the step."""
    beside: Mapping[str, float]
    """What servers and scheduler do meanwhile; the scheduler's are seconds of a core."""


def parts_of(record: Record) -> StepParts | None:
    """Of all steps of a run; None without one."""
    steps = [version for version in record.versions if version.step > 0]
    if not steps:
        return None
    means = {part: fmean(step.parts.get(part, 0.0) for step in steps) for part in steps[-1].parts}
    own = (GENERATION, LEARNING) if record.header.name == TRL else (LEARNING, PUBLISH)
    parts = {part: means.pop(part) for part in own}
    wall_clock, evaluation = (steps[-1].elapsed_s / len(steps), steps[-1].evaluation_s / len(steps))
    idle = max(0.0, wall_clock - sum(parts.values()))
    # A learner of ours works on during an evaluation: only where it does not is the evaluation a part of its step.
    parts[EVALUATION] = min(evaluation, idle)
    parts[REST if record.header.name == TRL else WAITING] = idle - parts[EVALUATION]
    return StepParts(one_after_another=parts, beside=means)


def generated_per_second(record: Record) -> float:
    """Tokens generated in each second of generation; 0 where none was noted."""
    seconds = sum(version.parts.get(GENERATION, 0.0) for version in record.versions)
    return record.versions[-1].spent_tokens / seconds if record.versions and seconds else 0.0
