"""Attempts under way: where each is, since when, and which of them are called back.

Owns: what a run has asked of servers and not yet judged, and the word that an attempt is to come back. Never speaks to
a server and never writes: whoever sent an attempt aborts it and accounts for it. Invariants: an attempt is called back
at most once, while it is under way; none is that a batch could still use, unless the run's straggler policy says so.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from scheduler.core.run import RunConfig
from scheduler.core.staleness import is_fresh
from scheduler.core.stragglers import StragglerPolicy, patience_s
from scheduler.core.types import Stage
from scheduler.fleet import Dispatch

log = structlog.get_logger(__name__)


class Recall(StrEnum):
    """Why an attempt is called back."""

    TOO_STALE = "too_stale"
    """No batch could take its group any more."""
    STRAGGLER = "straggler"
    """It takes much longer than its siblings."""


@dataclass(slots=True, kw_only=True, eq=False)
class Flight:
    """One attempt under way."""

    rid: str
    dispatch: Dispatch | None = None
    """Where it is; None while it waits for a server."""
    sent_at: float = 0.0
    recalled: Recall | None = None
    """Why it was called back; None if it was not."""
    on_recall: Callable[[], None] | None = None
    """Does what a recall asks for, while there is something to end; called once at most."""

    def sent(self, dispatch: Dispatch, now: float) -> None:
        """It goes to a server."""
        self.dispatch, self.sent_at = dispatch, now

    def recall(self, why: Recall) -> None:
        """Call it back; once is enough."""
        if self.recalled is None:
            self.recalled = why
            if self.on_recall is not None:
                self.on_recall()

    def duration_s(self, now: float) -> float:
        """Seconds it has been at its server, less those in which that was being given weights."""
        if self.dispatch is None:
            return 0.0
        stood_still_s = self.dispatch.server.stood_still_s(now) - self.dispatch.stood_still_s
        return now - self.sent_at - stood_still_s


@dataclass(slots=True, kw_only=True, eq=False)
class Volley:
    """Attempts that one visit asks for together, with those made again for them."""

    prompt_id: str
    stage: Stage
    num_wanted: int
    oldest: int | None = None
    """Oldest version behind any rollout or attempt of its group so far."""
    num_held: int = 0
    """Rollouts that its group has already."""
    may_try_again: bool = False
    """Whether an attempt called back now would be made again."""
    flights: set[Flight] = field(default_factory=set)
    durations_s: list[float] = field(default_factory=list)
    """Of the attempts that are back."""

    def samples_from(self, version: int) -> None:
        """An attempt is sent to a server that holds this version: its oldest token may be of it."""
        self.oldest = version if self.oldest is None else min(self.oldest, version)

    def came_back(self, flight: Flight, now: float) -> None:
        """A completion is there: there is nothing left to call back."""
        self.flights.discard(flight)
        self.durations_s.append(flight.duration_s(now))

    @property
    def num_back(self) -> int:
        """Rollouts of its group, if the completions that are back are judged."""
        return self.num_held + len(self.durations_s)


class Flights:
    """All attempts of a run that are under way."""

    def __init__(self, config: RunConfig, *, run_id: str = "", look_every_s: float = 0.0) -> None:
        self._config = config
        self._run_id = run_id
        self._look_every_s = look_every_s
        self._looked = (0, 0.0)
        """For which batch and when they were looked at last."""
        self._volleys: dict[Volley, None] = {}

    @contextmanager
    def under_way(self, volley: Volley) -> Iterator[None]:
        """Watch over the attempts of a volley."""
        self._volleys[volley] = None
        try:
            yield
        finally:
            del self._volleys[volley]

    def look(self, next_batch_version: int, now: float) -> None:
        """Call back what no batch could take any more, and stragglers, as the run wants it.

        `next_batch_version` is the earliest at which a group that is not complete yet can be consumed. Asked at every
        change of the run, it looks when batches have moved on and every so often.
        """
        looked_for, looked_at = self._looked
        if looked_for == next_batch_version and now - looked_at < self._look_every_s:
            return
        self._looked = next_batch_version, now
        for volley in self._volleys:
            if volley.stage is Stage.EVAL or not volley.flights:
                continue
            if volley.oldest is not None and not is_fresh(
                next_batch_version, volley.oldest, self._config.max_staleness
            ):
                self._recall(volley, list(volley.flights), Recall.TOO_STALE)
            elif late := self._stragglers(volley, now):
                self._recall(volley, late, Recall.STRAGGLER)

    def _recall(self, volley: Volley, flights: list[Flight], why: Recall) -> None:
        called = [flight for flight in flights if flight.recalled is None]
        for flight in called:
            flight.recall(why)
        if called:
            log.info(
                "attempts_recalled",
                run=self._run_id,
                prompt=volley.prompt_id,
                stage=volley.stage,
                why=why,
                attempts=len(called),
                rids=[flight.rid for flight in called],
                oldest_version=volley.oldest,
            )

    def _stragglers(self, volley: Volley, now: float) -> list[Flight]:
        config = self._config
        match config.stragglers:
            case StragglerPolicy.WAIT:
                return []
            # A verdict rests on all the pilots that were asked for; those that are short would give another one.
            case StragglerPolicy.CUT if volley.stage is not Stage.COMMIT or not self._may_go_short(volley):
                return []
            case StragglerPolicy.REPLACE if not volley.may_try_again:
                return []
        bound = patience_s(
            volley.durations_s,
            volley.num_wanted,
            share=config.straggler_share,
            factor=config.straggler_factor,
        )
        return [] if bound is None else [flight for flight in volley.flights if flight.duration_s(now) > bound]

    def _may_go_short(self, volley: Volley) -> bool:
        """Whether the group is large enough without what is not back."""
        return volley.num_back >= self._config.least_group(volley.num_held + volley.num_wanted)

    def told(self, now: float) -> str:
        """What is under way, for people: attempts by server with the longest of each, then those that are nowhere."""
        by_server: dict[str, list[float]] = {}
        waiting = judging = 0
        for volley in self._volleys:
            judging += not volley.flights and bool(volley.durations_s)
            for flight in volley.flights:
                if flight.dispatch is None:
                    waiting += 1
                else:
                    by_server.setdefault(flight.dispatch.server.url, []).append(now - flight.sent_at)
        said = [f"{len(ages)} attempts on {url}, for {max(ages):.1f} s at most" for url, ages in by_server.items()]
        said += [f"a server with room for {waiting} attempts"] if waiting else []
        said += [f"the rewards of {judging} prompts"] if judging else []
        return "; ".join(said)
