"""What the ledger's counters say of where the spend went: skip rates, and how hard the pool is.

Owns: the arithmetic of these rates. Pure; never changes a counter. Invariant: a prompt considered adds to at most one
verdict, so the skip rates together never exceed 1.
"""

from collections.abc import Mapping

from scheduler.core.types import Verdict

FIRST_VISITS = "first_visits:"
"""Prefix of the counters of first visits, by right pilots and pilots: a histogram of how hard the pool is."""
FIRST_VERDICTS = "first_verdicts:"
"""Likewise of the first visits that were judged: the first visit of a prompt may have been interrupted."""
GROUPED = "grouped:rollouts"
"""Rollouts in published groups."""
MIXED = "mixed:rollouts"
"""Rollouts in published groups whose rewards differ."""
MIXED_GROUPS = "mixed:groups"
"""Published groups whose rewards differ."""
REVISITS = "revisits:"
"""Prefix of the counters of judged visits to prompts that were judged before, by the last verdict and the new one."""
SIGNAL = "signal:milli"
"""Sum over published groups of rollouts x variance of their rewards, in thousandths."""
VISITED = "visited:prompts"
"""Prompts of which a visit has ended, in whatever way."""
TOO_STALE = "recalled:too_stale"
"""Attempts called back because no batch could take their group any more."""
STRAGGLERS = "recalled:straggler"
"""Attempts called back because they took much longer than their siblings."""

NOT_COMMITTED = (Verdict.SKIP, Verdict.DEFER, Verdict.EVICT)
"""The verdicts that make the skip rate, in the order they are reported in."""


def considered(counters: Mapping[str, int]) -> int:
    """Prompts considered: claimed, or passed over by their history. One counts again at every turn it gets."""
    return counters.get("considered", 0)


def visits_judged(counters: Mapping[str, int], verdict: Verdict) -> int:
    """Visits that ended in the verdict."""
    return counters.get(f"verdict:{verdict}", 0)


def visit_ends(counters: Mapping[str, int]) -> dict[str, int]:
    """Visits by how they ended: a verdict, or what came in between."""
    prefix = "verdict:"
    return {name.removeprefix(prefix): count for name, count in counters.items() if name.startswith(prefix)}


def passed_over(counters: Mapping[str, int], verdict: Verdict) -> int:
    """Prompts that got the verdict from their history alone, without a pilot."""
    return counters.get(f"passed_over:{verdict}", 0)


def verdicts(counters: Mapping[str, int]) -> Mapping[Verdict, int]:
    """Verdicts so far, those that history alone gave included."""
    return {verdict: visits_judged(counters, verdict) + passed_over(counters, verdict) for verdict in Verdict}


def skip_rates(counters: Mapping[str, int]) -> Mapping[Verdict, float]:
    """By verdict, prompts piloted or passed over and not committed ÷ prompts considered; empty before the first.

    Visits still open, and those that ended without a verdict, are in the denominator alone.
    """
    total = considered(counters)
    if not total:
        return {}
    found = verdicts(counters)
    return {verdict: found[verdict] / total for verdict in NOT_COMMITTED}


def pilot_success_rate(counters: Mapping[str, int]) -> float | None:
    """Pilots that were right ÷ pilots judged, before any selection; None before the first."""
    judged = counters.get("pilots:judged", 0)
    return counters.get("pilots:correct", 0) / judged if judged else None


def first_visit_counter(correct: int, pilots: int) -> str:
    """The counter of first visits whose pilots were right so often."""
    return f"{FIRST_VISITS}{correct}/{pilots}"


def first_visits(counters: Mapping[str, int]) -> dict[tuple[int, int], int]:
    """First visits by (right pilots, pilots): an unbiased look at the pool, whatever was selected afterwards."""
    return _by_pilots(counters, FIRST_VISITS)


def first_verdict_counter(correct: int, pilots: int) -> str:
    """The counter of first judged visits whose pilots were right so often."""
    return f"{FIRST_VERDICTS}{correct}/{pilots}"


def first_verdicts(counters: Mapping[str, int]) -> dict[tuple[int, int], int]:
    """First judged visits by (right pilots, pilots): one for each prompt that ever was."""
    return _by_pilots(counters, FIRST_VERDICTS)


def _by_pilots(counters: Mapping[str, int], prefix: str) -> dict[tuple[int, int], int]:
    visits: dict[tuple[int, int], int] = {}
    for name, count in counters.items():
        if name.startswith(prefix):
            correct, pilots = name.removeprefix(prefix).split("/")
            visits[int(correct), int(pilots)] = count
    return visits


def revisit_counter(before: Verdict, verdict: Verdict) -> str:
    """The counter of visits judged so whose prompt was last judged `before`."""
    return f"{REVISITS}{before}:{verdict}"


def signal(counters: Mapping[str, int]) -> float:
    """Sum over published groups of rollouts x variance of their rewards: what the spend has bought."""
    return counters.get(SIGNAL, 0) / 1000
