"""The lines that `trl_peer.py` writes, and the record that they make.

Owns: their shape as it is read here. Pure. Invariant: a run without its last line makes no record.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from benchmarks.target.record import End, Evaluation, Header, Record, Version
from scheduler.core.errors import InvalidInput


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="step"):
    """A step is done; sums are from the beginning of training, and no clock runs while the policy is evaluated."""

    step: int
    elapsed_s: float
    rollouts: int
    tokens: int
    generation_s: float
    learning_s: float
    accuracy: float | None
    evaluation_s: float
    """Of this evaluation."""


class Generated(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="generated"):
    """A generator was timed on one step's prompts, with nothing learnt."""

    generator: str
    rollouts: int
    tokens: int
    seconds: float


class Over(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    """The run is over."""

    reached_target: bool
    reason: str
    elapsed_s: float


Line = Step | Generated | Over


def read(text: bytes) -> list[Line]:
    """The whole lines there are; raises InvalidInput where one is none of ours."""
    whole = text[: text.rfind(b"\n") + 1]
    try:
        return [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
    except msgspec.MsgspecError as exc:
        raise InvalidInput(f"TRL wrote a line that is none: {exc}") from exc


def record_of(header: Header, lines: Sequence[Line]) -> Record:
    """The record of TRL's run; raises InvalidInput unless it has a beginning and an end."""
    steps = [line for line in lines if isinstance(line, Step)]
    if not steps or not isinstance(lines[-1], Over):
        raise InvalidInput("TRL's run has no end: no record is written")
    over = lines[-1]
    evaluated = {line.step: sum(each.evaluation_s for each in steps[1:] if each.step < line.step) for line in steps}
    return Record(
        header=header,
        versions=tuple(
            Version(
                step=line.step,
                version=line.step + 1,
                elapsed_s=round(line.elapsed_s + evaluated[line.step], 3),
                evaluation_s=round(evaluated[line.step], 3),
                spent_rollouts=line.rollouts,
                spent_tokens=line.tokens,
                stats={},
                parts=_parts(before, line),
            )
            for before, line in pairwise([steps[0], *steps])
        ),
        evaluations=tuple(
            Evaluation(
                step=line.step,
                version=line.step + 1,
                accuracy=float(f"{line.accuracy:.6g}"),
                seconds=round(line.evaluation_s, 3),
            )
            for line in steps
            if line.accuracy is not None
        ),
        end=End(
            state="finished",
            reason=over.reason,
            reached_target=over.reached_target,
            elapsed_s=round(over.elapsed_s + sum(line.evaluation_s for line in steps[1:]), 3),
            considered=0,
            skip_rates={},
            ledger={},
            restarts={},
        ),
    )


def _parts(before: Step, line: Step) -> dict[str, float]:
    return {
        "generation": round(line.generation_s - before.generation_s, 3),
        "learning": round(line.learning_s - before.learning_s, 3),
    }
