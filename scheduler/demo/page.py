"""The end of a demo run as one HTML file, for a browser without a network.

Owns: the page and what stands on it. Pure. Invariants: it loads nothing from elsewhere; whatever comes from outside, a
model's name or a reason, is text and never markup; the numbers are the report's.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from scheduler.demo.facts import StageFacts
from scheduler.demo.report import Report, by_stage, settled

_PAGE = "page.html.jinja"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One number, with what it is and what it rests on."""

    label: str
    value: str
    note: str
    tone: str = ""
    """`good`, `bad` or neither."""


def page(report: Report, *, picture: bytes, command: str, versions: Mapping[str, str]) -> str:
    """The page of a report; `picture` is a PNG, or nothing."""
    environment = Environment(
        loader=PackageLoader("scheduler.demo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    stages = report.ledger.stages
    return environment.get_template(_PAGE).render(
        title=_title(report),
        report=report,
        cards=cards(report),
        picture=f"data:image/png;base64,{base64.b64encode(picture).decode()}" if picture else "",
        reasons=_reasons(report.ledger.reasons),
        stages=list(stages),
        outcomes=_outcomes(list(stages.values())),
        totals=[
            ("attempts", [stage.attempts for stage in stages.values()]),
            ("generated tokens", [stage.tokens for stage in stages.values()]),
        ],
        command=command,
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
    )


def cards(report: Report) -> list[Card]:
    """What somebody looks for first."""
    after, before, gained = report.accuracy_after, report.accuracy_before, report.accuracy_gain
    found = [
        Card(
            label="held-out accuracy after",
            value="not measured" if after is None else f"{after.estimate:.3f}",
            note="" if after is None else f"95 % interval {after.low:.3f} to {after.high:.3f}",
        ),
        Card(
            label="gain",
            value="not measured" if gained is None else f"{gained.estimate * 100:+.1f} points",
            note=""
            if before is None or gained is None
            else f"from {before.estimate:.3f}; {gained.low * 100:+.1f} to {gained.high * 100:+.1f}",
            tone="" if gained is None or gained.low <= 0 else "good",
        ),
        Card(
            label="rollouts spent",
            value=f"{report.rollouts:,}",
            note=by_stage(report),
        ),
    ]
    if report.uniform_rollouts:
        saved = report.rollouts_saved / report.uniform_rollouts
        found.append(
            Card(
                label="saved against uniform",
                value=f"{saved:.0%}",
                note=f"of {report.uniform_rollouts:,} that whole groups would have cost",
                tone="good" if saved > 0 else "",
            )
        )
    return found


def _title(report: Report) -> str:
    gained, spent = report.accuracy_gain, f"{report.rollouts:,} rollouts"
    return f"{spent} spent" if gained is None else f"{gained.estimate * 100:+.1f} points of accuracy for {spent}"


def _reasons(reasons: Mapping[str, int]) -> list[tuple[str, str, int]]:
    counted = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    split = ((key.partition(":"), count) for key, count in counted if count)
    return [(verdict, reason.replace("_", " "), count) for (verdict, _, reason), count in split]


def _outcomes(stages: Sequence[StageFacts]) -> list[tuple[str, list[int]]]:
    names = sorted({name for stage in stages for name, count in settled(stage).items() if count})
    return [(name, [settled(stage).get(name, 0) for stage in stages]) for name in names]
