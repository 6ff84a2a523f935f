"""A run's ledger as a table: what became of every attempt.

Owns: its rows and sums. Pure. Invariant: the column of a stage adds up to its attempts wherever the ledger balances.
"""

from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scheduler.cli import words
from scheduler.cli.answers import Ledger
from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.types import Stage


def ledger(found: Ledger) -> RenderableType:
    """Attempts by stage, open state and outcome; then verdicts and what the budget says."""
    return Group(_attempts(found), _verdicts(found), *_failures(found), _budget(found), _balance(found))


def _attempts(found: Ledger) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("")
    for heading in (*Stage, "total"):
        table.add_column(heading, justify="right")
    lines = found.stages

    def row(label: str, numbers: Iterable[int], style: str = "") -> None:
        cells = list(numbers)
        table.add_row(Text(words.spaced(label)), *(words.count(number) for number in (*cells, sum(cells))), style=style)

    row("attempts", (lines[stage].attempts for stage in Stage), "bold")
    table.add_section()
    for state in OpenState:
        row(state, (lines[stage].open[state] for stage in Stage))
    table.add_section()
    for outcome in Outcome:
        row(outcome, (lines[stage].outcomes[outcome] for stage in Stage))
    table.add_section()
    row("tokens", (lines[stage].tokens for stage in Stage))
    row("prompt tokens", (lines[stage].prompt_tokens for stage in Stage))
    return table


def _verdicts(found: Ledger) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for heading in ("visits ended", "", "of them"):
        table.add_column(heading, justify="right" if not heading else "left")
    for verdict, number in _most_first(found.verdicts):
        reasons = {name.partition(":")[2]: count for name, count in found.reasons.items() if _of(name, verdict)}
        said = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in _most_first(reasons))
        table.add_row(verdict, words.count(number), Text(said))
    for verdict, number in _most_first(found.passed_over):
        table.add_row(verdict, words.count(number), Text("passed over by their history, without a pilot"))
    return table if table.row_count else Text("no visit has ended yet\n", style="dim")


def _failures(found: Ledger) -> Iterable[RenderableType]:
    """What went wrong and what was done about it, a line for each that happened."""
    for label, counts in (
        ("incomplete groups", found.incomplete),
        ("attempts called back", found.recalled),
        ("claiming stopped by failures", found.breaker_trips),
    ):
        if counts:
            said = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in _most_first(counts))
            yield Text(f"{label}: {said}")


def _budget(found: Ledger) -> RenderableType:
    return Text(
        f"spent {found.spent_rollouts:,} rollouts and {found.spent_tokens:,} tokens; "
        f"reserved {found.reserved_rollouts:,} rollouts and {found.reserved_tokens:,} tokens"
    )


def _balance(found: Ledger) -> RenderableType:
    if found.balanced:
        return Text("balanced: open attempts and outcomes sum to the attempts made", style="green")
    return Text("not balanced: open attempts and outcomes do not sum to the attempts made, which is a bug", style="red")


def _of(name: str, verdict: str) -> bool:
    return name.partition(":")[0] == verdict


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
