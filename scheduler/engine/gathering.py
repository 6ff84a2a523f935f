"""The rollouts of one visit: asked for, made again within bounds, and accounted for.

Owns: what a visit has reserved, in flight and held, from its first attempt to its last. Never decides how many rollouts
are wanted or what becomes of them. Invariant: every attempt that is launched here lands here, with one outcome; nothing
is launched that was not reserved.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, field

import structlog

from scheduler.core.errors import BudgetExhausted
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.ledger import Outcome
from scheduler.core.run import RunConfig
from scheduler.core.stragglers import StragglerPolicy
from scheduler.core.types import Prompt, Rollout, Stage
from scheduler.engine.attempts import Sender
from scheduler.engine.circuit import Circuit
from scheduler.engine.flights import Volley
from scheduler.engine.interruption import Interrupted
from scheduler.engine.judging import Judged
from scheduler.engine.uninterrupted import uninterrupted
from scheduler.state.records import Attempt
from scheduler.state.row import Row
from scheduler.state.visit import Change, Landing, Visit
from scheduler.state.visits import VisitStore

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Gathering:
    """What a visit under way has of rollouts."""

    sender: Sender
    visits: VisitStore
    circuit: Circuit
    config: RunConfig
    visit: Visit
    prompt: Prompt
    row: Row
    largest_group: int
    rollouts: tuple[Rollout, ...]
    attempts: tuple[Attempt, ...] = ()
    """Every attempt of the visit, for its record."""
    num_wanted: int = 0
    """Rollouts that the visit would hold, had every attempt given one."""
    num_sent: int = 0
    num_remade: int = 0
    """Attempts that were made again."""
    num_cut: int = 0
    """Attempts that were called back as stragglers and not made again."""
    first_failure: str = ""
    """Why the first rollout without a reward has none."""
    unwritten: Change | None = None
    """What landed last, as long as it is to be written with the visit's next move."""
    lost_visits: int = field(init=False)
    """Visits in a row, this one included, that ended because servers went away with the prompt's attempts."""

    def __post_init__(self) -> None:
        self.lost_visits = self.row.lost_visits

    async def ask(self, stage: Stage, count: int) -> Interrupted | None:
        """Get `count` more rollouts, as far as the run's policies want; None unless the visit cannot go on.

        The rollouts may be fewer: those whose rewards failed, and stragglers that were cut, are missing.
        """
        self.num_wanted = len(self.rollouts) + count
        tries, judged = self._tries, Judged()
        volley = self._volley(stage, count)
        for attempt in range(tries):
            if not await self._reserve(count):
                return Interrupted(outcome=Outcome.INCOMPLETE, reason="no budget left to make lost attempts again")
            # With a single try, whoever lost the last visit's attempts with their server is the suspect.
            suspect = judged.server_gone or (tries == 1 and self.row.lost_visits > 0)
            self.num_remade += count if attempt else 0
            volley.may_try_again = attempt + 1 < tries
            if attempt or suspect:
                # It may be a while until its turn.
                await self.write()
            async with self.sender.turn(attempt, tries=tries, suspect=suspect):
                judged = await self._make(volley, count)
            if judged.refused:
                return Interrupted(outcome=Outcome.INCOMPLETE, reason=judged.refused, quarantine=True)
            if judged.expired:
                reason = f"too stale for any batch to come: of version {volley.oldest}"
                return Interrupted(outcome=Outcome.EXPIRED, reason=reason)
            count = self._missing(judged)
            if not count or self._is_enough(stage):
                return None
        return self._lost(judged, tries) if judged.lost else self._failed(judged)

    @property
    def _tries(self) -> int:
        return 1 if self.config.incomplete is IncompletePolicy.DROP else self.config.max_attempts

    def _volley(self, stage: Stage, count: int) -> Volley:
        return Volley(
            prompt_id=self.prompt.prompt_id,
            stage=stage,
            num_wanted=count,
            oldest=min((rollout.oldest_version for rollout in self.rollouts), default=None),
            num_held=len(self.rollouts),
        )

    def _missing(self, judged: Judged) -> int:
        """Attempts to be made again."""
        # A reward that fails now and then is worth another attempt; one that has never worked is not.
        failed = len(judged.failed) if self.rollouts else 0
        replaced = judged.cut if self.config.stragglers is StragglerPolicy.REPLACE else 0
        return len(judged.lost) + failed + replaced

    def _is_enough(self, stage: Stage) -> bool:
        """Whether the group is published as it is; a verdict rests on all the pilots that its rule asked for."""
        accepts = stage is Stage.COMMIT and self.config.incomplete is IncompletePolicy.ACCEPT
        return accepts and len(self.rollouts) >= self.config.least_group(self.num_wanted)

    def _lost(self, judged: Judged, tries: int) -> Interrupted:
        self.lost_visits += judged.server_gone
        return Interrupted.lost(tries, judged.lost[0], lost_visits=self.lost_visits)

    def _failed(self, judged: Judged) -> Interrupted | None:
        """Rewards failed to the last try: by default a group goes without these rollouts."""
        if self.config.incomplete is not IncompletePolicy.DROP or not judged.failed:
            return None
        return Interrupted(outcome=Outcome.INCOMPLETE, reason="an attempt failed", detail=judged.failed[0])

    @property
    def moved(self) -> Visit | Change:
        """What the visit's next move is made from."""
        return self.unwritten or self.visit

    async def write(self) -> None:
        """Write what has landed, where the next move is not made at once."""
        if self.unwritten is not None:
            await uninterrupted(self._write(self.unwritten))

    async def end(self, move: Awaitable[None]) -> None:
        """The visit's last move, made from where it stands."""
        await move
        self.unwritten = None

    async def _write(self, change: Change) -> None:
        self.visit, self.unwritten = await self.visits.write(change), None

    def short_of(self, wanted: int) -> Interrupted:
        """The visit has fewer rollouts than it needs, because rewards failed."""
        failed_visits = self.row.failed_visits + 1
        return Interrupted.short(len(self.rollouts), wanted, self.first_failure, failed_visits=failed_visits)

    def ids(self) -> dict[str, str]:
        """What every line about the visit is found by."""
        visit = self.visit
        return {"run": self.sender.run_id, "prompt": visit.prompt_id, "visit": visit.visit_id}

    async def _make(self, volley: Volley, count: int) -> Judged:
        made = self.attempts
        sent = [
            Attempt(rid=self.sender.rid(self.visit.visit_id, number), stage=volley.stage)
            for number in range(self.num_sent, self.num_sent + count)
        ]
        await uninterrupted(self._launch(volley.stage, count, (*made, *sent)))
        log.debug("launched", **self.ids(), stage=volley.stage, attempts=count)
        judged = await self.sender.make(
            self.prompt,
            self.visit.visit_id,
            volley,
            count,
            round_number=self.row.evidence.visits,
            first=self.num_sent,
        )
        self.num_sent += count
        self.rollouts += judged.rollouts
        self.num_cut += 0 if self.config.stragglers is StragglerPolicy.REPLACE else judged.cut
        self.attempts = (*made, *judged.attempts)
        landing = _landing(volley, judged)
        self.unwritten = self.visits.landed(self.visit, landing, held=self.rollouts, attempts=self.attempts)
        log.debug(
            "landed",
            **self.ids(),
            stage=volley.stage,
            rollouts=len(judged.rollouts),
            failed=len(judged.failed),
            lost=len(judged.lost),
            recalled=judged.expired + judged.cut,
        )
        self.first_failure = self.first_failure or next(iter(judged.failed), "")
        await self.circuit.observe(good=len(judged.rollouts), failed=len(judged.failed), lost=len(judged.lost))
        return judged

    async def _launch(self, stage: Stage, count: int, attempts: tuple[Attempt, ...]) -> None:
        self.visit, self.unwritten = await self.visits.launch(self.moved, stage, count, attempts), None

    async def _reserve(self, count: int) -> bool:
        """Have reserved all that the group still lacks: lost attempts, an earlier scheduler's too, used theirs up."""
        missing = max(count, self.largest_group - len(self.rollouts)) - self.visit.reserved
        if missing > 0:
            await self.write()
            try:
                self.visit = await uninterrupted(self.visits.extend(self.visit, missing))
            except BudgetExhausted:
                return False
        return True


def _landing(volley: Volley, judged: Judged) -> Landing:
    return Landing(
        stage=volley.stage,
        rollouts=judged.rollouts,
        failed=len(judged.failed),
        failed_tokens=judged.failed_tokens,
        lost=len(judged.lost),
        expired=judged.expired,
        cut=judged.cut,
        recalled_tokens=judged.recalled_tokens,
        prompt_tokens=judged.prompt_tokens,
    )
