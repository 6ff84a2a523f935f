"""What a bounded look at informativeness tables shows, for pages that are read again and again.

Owns: the sample's size and how long it is good for. Never reads a whole table: a run may have ten million prompts.
Invariant: a table is looked at once in a while, however often it is asked for.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scheduler.core.prior import fit_counted_prior
from scheduler.core.spend import first_visits
from scheduler.core.spread import spread
from scheduler.state.connection import Redis
from scheduler.state.keys import RunKeys
from scheduler.state.runs import RunRecord
from scheduler.state.table import Table

NUM_ROWS = 1000
"""With so many, a share of the table is known to within three points; a table no longer than that is read whole."""
GOOD_FOR_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    taken_at: float
    spread: Mapping[float, float]


class TableSample:
    """Looks at the tables of runs."""

    def __init__(self, redis: "Redis", *, now: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._now = now
        self._looks: dict[str, _Look] = {}

    async def spread(self, record: RunRecord, counters: Mapping[str, int]) -> Mapping[float, float]:
        """Visited prompts by informativeness as of the run's weight version; empty before the first visit.

        `counters` are those of its ledger.
        """
        now = self._now()
        self._looks = {run_id: look for run_id, look in self._looks.items() if now - look.taken_at < GOOD_FOR_S}
        if record.run_id not in self._looks:
            self._looks[record.run_id] = _Look(taken_at=now, spread=await self._look(record, counters))
        return self._looks[record.run_id].spread

    async def _look(self, record: RunRecord, counters: Mapping[str, int]) -> Mapping[float, float]:
        table = Table.of(self._redis, RunKeys(record.run_id), record.config)
        rows, num_rows = await table.some_rows(NUM_ROWS)
        prior, discount = fit_counted_prior(first_visits(counters)), record.config.discount
        aged = (row.evidence.aged(record.version, prior, discount) for row in rows)
        return spread((evidence.informativeness for evidence in aged), num_prompts=num_rows)
