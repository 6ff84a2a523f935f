"""Which runs are at work at the same time, and what the others wait for.

Owns: the rule. Pure. Invariants: no server is wanted by two runs that are let to work; a run is never overtaken by a
younger one that wants a server which it wants too, so every run whose servers there are gets its turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.core.labels import Labels, has, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A run that has not ended."""

    run_id: str
    wanted: Labels = field(default_factory=dict)
    """Labels that its servers have to have."""
    has_begun: bool = False
    """Whether it has been at work: it goes on before anything new begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run stands in the queue."""

    position: int
    """0 for one whose turn it is, 1 for the next of those that want servers which it wants too."""
    behind: tuple[str, ...] = ()
    """Runs that have to end first, at work or further ahead in the queue."""
    why: str = ""
    """What it waits for, to be read after `waits for`; empty if it is its turn."""


def places(runs: Sequence[Contender], fleet: Sequence[Labels]) -> dict[str, Place]:
    """The place of each run, by id; `runs` are in the order of their creation, `fleet` has the labels of each server.

    A run that wants labels which no server has waits for such a server, and holds up nobody.
    """
    found: dict[str, Place] = {}
    ahead: list[Contender] = []
    queued: set[str] = set()
    for run in sorted(runs, key=lambda run: not run.has_begun):
        if run.has_begun:
            found[run.run_id] = Place(position=0)
        elif run.wanted and not any(has(labels, run.wanted) for labels in fleet):
            found[run.run_id] = Place(position=1, why=_no_server(run.wanted, fleet))
            continue
        else:
            rivals = [other.run_id for other in ahead if _are_rivals(run, other, fleet)]
            found[run.run_id] = _behind(rivals, num_queued=sum(rival in queued for rival in rivals))
            if rivals:
                queued.add(run.run_id)
        ahead.append(run)
    return found


def _are_rivals(one: Contender, other: Contender, fleet: Sequence[Labels]) -> bool:
    """Whether they want a server in common; two that want any do so of a fleet that has none yet."""
    if not one.wanted and not other.wanted:
        return True
    return any(has(labels, one.wanted) and has(labels, other.wanted) for labels in fleet)


def _behind(rivals: Sequence[str], *, num_queued: int) -> Place:
    if not rivals:
        return Place(position=0)
    names = f"run {rivals[0]}" if len(rivals) == 1 else f"runs {', '.join(rivals)}"
    return Place(position=1 + num_queued, behind=tuple(rivals), why=f"{names} to end: servers that it wants are theirs")


def _no_server(wanted: Labels, fleet: Sequence[Labels]) -> str:
    known = sorted({told(labels) or "no label" for labels in fleet})
    there = f"the servers of the fleet ({len(fleet)}) have {'; '.join(known)}" if known else "the fleet has no servers"
    label = " ".join(f"--label {name}={value}" for name, value in sorted(wanted.items()))
    return f"a server with {told(wanted)}: {there}; add one with `pilotcommit server add URL {label}`"


def position_of(places_by_run: Mapping[str, Place], run_id: str) -> Place:
    """The place of one run; that of a run which is not in the queue is its turn."""
    return places_by_run.get(run_id, Place(position=0))
