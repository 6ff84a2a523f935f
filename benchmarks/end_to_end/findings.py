"""What the records of both sides say.

Owns: the figures and the samples behind them. Pure. Invariant: where a run did not reach the target its ratio is a
bound, and one that bounds from above claims nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from benchmarks.end_to_end.lines import Generated
from benchmarks.end_to_end.parts import GENERATION, generated_per_second, parts_of
from benchmarks.end_to_end.plan import OURS, TRL
from benchmarks.figures import Figure
from benchmarks.session import Findings
from benchmarks.target.analysis import Bound, ratio_of, spend_of
from benchmarks.target.curves import Axis, Crossing, crossing, curve_of, smoothed
from benchmarks.target.record import Record
from benchmarks.target.targets import Targets
from benchmarks.trl import TRL_VERSION

FASTER = 2.0
"""How many times less wall-clock than TRL ours is to take."""
HEADLINE = "90"
"""Per cent of GRPO's gain that the target is."""
_BOUNDS = {Bound.ABOVE: "at least: TRL did not get there", Bound.BELOW: "at most: ours did not get there"}


def findings(records: Sequence[Record], generators: Sequence[Generated], targets: Targets) -> Findings:
    """Ratios, then seconds and tokens a second of each side, then samples for the picture."""
    sides = {name: [record for record in records if record.header.name == name] for name in (TRL, *OURS)}
    sides = {name: runs for name, runs in sides.items() if runs}
    return [
        *(figure for name in OURS for figure in _ratios(sides, name, targets)),
        *(figure for name, runs in sides.items() for figure in _side(name, runs, targets)),
        *(_generator(line) for line in generators),
    ], _samples(records)


def _ratios(sides: Mapping[str, list[Record]], name: str, targets: Targets) -> list[Figure]:
    if TRL not in sides or name not in sides:
        return []
    peer, ours = sides[TRL], sides[name]
    shares = sorted(targets.accuracy, key=lambda share: share != HEADLINE)
    found = [
        _ratio(
            f"TRL's wall-clock over that of {name}, to {_named(share, targets)}",
            peer,
            ours,
            targets.accuracy[share],
            FASTER if share == HEADLINE else None,
        )
        for share in shares
    ]
    counted = [_with_evaluations(record) for record in ours]
    what = f"the same to {HEADLINE} %, evaluations on the clock of {name} and not on TRL's"
    found.append(_ratio(what, peer, counted, targets.accuracy[HEADLINE], None))
    what = f"the same to {HEADLINE} %, {name} against TRL as if it generated in no time"
    found.append(_ratio(what, [_without_generation(record) for record in peer], ours, targets.accuracy[HEADLINE], None))
    return [figure for figure in found if figure is not None]


def _ratio(
    what: str, peer: Sequence[Record], ours: Sequence[Record], accuracy: float, target: float | None
) -> Figure | None:
    theirs, own = _crossings(peer, accuracy), _crossings(ours, accuracy)
    ratio = ratio_of([(theirs[seed], own[seed]) for seed in sorted(own) if seed in theirs])
    if ratio is None:
        return None
    each = ", ".join(f"{theirs[seed].spent / own[seed].spent:.2g}" for seed in sorted(own) if seed in theirs)
    note = _BOUNDS.get(ratio.bound, "unknown: in a seed neither got there" if ratio.bound is Bound.NONE else "")
    return Figure(
        what=what,
        value=ratio.estimate,
        target=target if ratio.bound in (Bound.EXACT, Bound.ABOVE) else None,
        note="; ".join(filter(None, (note, f"by seed: {each}"))),
    )


def _crossings(runs: Sequence[Record], accuracy: float) -> dict[int, Crossing]:
    return {run.header.seed: crossing(smoothed(curve_of(run, Axis.SECONDS)), accuracy) for run in runs}


def _with_evaluations(record: Record) -> Record:
    """As if evaluating were a part of training."""
    return replace(
        record, versions=tuple(msgspec.structs.replace(version, evaluation_s=0.0) for version in record.versions)
    )


def _without_generation(record: Record) -> Record:
    """The limit of any other generator: what TRL would take if completions came at once."""
    saved, versions = 0.0, []
    for version in record.versions:
        saved += version.parts.get(GENERATION, 0.0)
        versions.append(msgspec.structs.replace(version, elapsed_s=version.elapsed_s - saved))
    return replace(record, versions=tuple(versions))


def _side(name: str, runs: Sequence[Record], targets: Targets) -> list[Figure]:
    label = f"TRL {TRL_VERSION}" if name == TRL else name
    spend = spend_of(list(_crossings(runs, targets.accuracy[HEADLINE]).values()))
    steps = [len(run.versions) - 1 for run in runs]
    reached = f"{spend.num_reached} of {spend.num_seeds} seeds got there"
    figures = [
        Figure(what=f"{label}: to {_named(HEADLINE, targets)}", value=spend.mean / 60, unit="minutes", note=reached),
        Figure(
            what=f"{label}: generation",
            value=sum(map(generated_per_second, runs)) / len(runs),
            unit="tokens/s",
            note="while some are under way; rollouts of equal prompts share the prefill" if name != TRL else "",
        ),
    ]
    parts = parts_of(runs[0])
    if parts is None:
        return figures
    told = {**parts.one_after_another, **{f"{part}, beside": value for part, value in parts.beside.items()}}
    note = "; ".join(f"{part} {value:.2f}" for part, value in told.items())
    total = sum(parts.one_after_another.values())
    return [
        *figures,
        Figure(
            what=f"{label}: a step", value=total, unit="s", note=f"{note}; seed {runs[0].header.seed}, {steps[0]} steps"
        ),
    ]


def _generator(line: Generated) -> Figure:
    return Figure(
        what=f"TRL's generator `{line.generator}`",
        value=line.tokens / line.seconds,
        unit="tokens/s",
        note=f"{line.rollouts} rollouts in {line.seconds:.1f} s, before training",
    )


def _named(share: str, targets: Targets) -> str:
    return f"{share} % of GRPO's gain ({targets.accuracy[share]:.3f})"


def _samples(records: Sequence[Record]) -> dict[str, list[float]]:
    """Curves and parts, by run."""
    found: dict[str, list[float]] = {}
    for record in records:
        label, curve, parts = (
            f"{record.header.name}/{record.header.seed}",
            curve_of(record, Axis.SECONDS),
            parts_of(record),
        )
        found[f"{label} minutes"] = [round(seconds / 60, 4) for seconds in curve.spent]
        found[f"{label} accuracy"] = list(curve.accuracy)
        if parts is not None:
            found |= {f"{label} s of {part}": [round(value, 4)] for part, value in parts.one_after_another.items()}
            found |= {f"{label} s beside of {part}": [round(value, 4)] for part, value in parts.beside.items()}
    return found
