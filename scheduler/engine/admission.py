"""Which prompts are claimed, and when none can be.

Owns: claiming. Never runs a visit itself: it hands claims on. Invariant: a claim reserves the largest group it may
become, and a claim that does not fit the budget waits for refunds.
"""

import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from scheduler.core.allocators.interface import Candidate, Demand, PassedOver, Ranking
from scheduler.core.allocators.orders import sample_size
from scheduler.core.budget import Cost, worst_case
from scheduler.core.informativeness import Evidence
from scheduler.core.mixture import forfeited, turns
from scheduler.core.prior import Prior
from scheduler.core.run import RunConfig
from scheduler.core.types import Prompt
from scheduler.engine.circuit import Circuit
from scheduler.engine.pipeline import Pipeline
from scheduler.engine.rule_in_force import RuleInForce
from scheduler.state.row import Event, PassedRow, Row
from scheduler.state.run_pools import RunPools
from scheduler.state.table import Table
from scheduler.state.transaction import Transactor
from scheduler.state.visit import Claimed, Visit
from scheduler.state.visits import VisitStore

log = structlog.get_logger(__name__)

Start = Callable[[Visit, Prompt, Row], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Prompts of one pool that may be claimed now."""

    pool: str
    turns: Sequence[int]
    """Which of the claims wanted are this pool's; it gets no more."""
    sample: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One of the claims wanted."""

    pool: str
    prompt_id: str | None
    """None: the pool's rule lets its turn pass."""


def _in_turn(offers: Sequence[Offer], chosen: Mapping[str, deque[str]]) -> list[Due]:
    """What is chosen of each pool, in the order of their turns: a budget that ends cuts all of them alike."""
    order = sorted((turn, offer.pool) for offer in offers for turn in offer.turns)
    return [Due(pool=pool, prompt_id=chosen[pool].popleft() if chosen[pool] else None) for _, pool in order]


def _let_pass(turns_due: Sequence[Due], claimed: Claimed) -> Counter[str]:
    """Turns by pool that its rule did not want, as far as the budget went: they are not the others' to wait for."""
    opened = {visit.prompt_id for visit in claimed.visits}
    last = max((number for number, due in enumerate(turns_due) if due.prompt_id in opened), default=-1)
    reached = turns_due[: last + 1] if claimed.is_out_of_budget else turns_due
    return Counter(due.pool for due in reached if due.prompt_id is None)


@dataclass(slots=True, kw_only=True)
class Admission:
    """Claims prompts for one run."""

    run_id: str
    config: RunConfig
    fence: int
    rule: RuleInForce
    pipeline: Pipeline
    circuit: Circuit
    table: Table
    visits: VisitStore
    pools: RunPools
    transactor: Transactor
    start: Start
    now: Callable[[], float]
    rng: np.random.Generator
    out_of_budget: bool = False
    """The last claim did not fit what is left: it waits for refunds."""
    out_of_prompts: bool = False
    """There was nothing to claim at the last look."""
    is_revisiting: bool = False
    """The last look found nothing but prompts that are not due yet."""

    @property
    def largest_claim(self) -> Cost:
        """What a claim reserves: the largest group it may become, at worst-case tokens."""
        return worst_case(self.rule.allocator.largest_group, self.config.sampling.max_new_tokens)

    def fresh_row(self) -> Row:
        """The row of a prompt that was never visited."""
        return Row(evidence=Evidence.fresh(self.rule.prior, self.pipeline.policy_version))

    async def return_due(self) -> None:
        """Make waiting prompts claimable whose weight version has come."""
        version = self.pipeline.policy_version
        returned = await self.table.return_due(self.transactor, version)
        if returned:
            log.info("prompts_returned", run=self.run_id, version=version, prompts=returned, due=True)

    async def admit(self) -> int:
        """Claim as many prompts as the pipeline wants now, and start their visits; returns how many.

        None while the breaker is open, a few while it is half-open.
        """
        wanted = self.circuit.claims(self.pipeline.claims_wanted, self.pipeline.num_piloting)
        if wanted <= 0:
            return 0
        offers = await self._offers(wanted)
        self.out_of_prompts = not offers
        if not offers:
            return 0
        rows: dict[str, Row] = {}
        evidence: dict[str, Evidence] = {}
        chosen: dict[str, deque[str]] = {}
        for offer in offers:
            rows |= await self.table.rows(offer.sample)
            candidates = await self._candidates(offer.sample, rows)
            evidence |= {candidate.prompt_id: candidate.evidence for candidate in candidates}
            ranking = self._rank(candidates, len(offer.turns))
            await self._pass_over(ranking.passed_over, evidence)
            chosen[offer.pool] = deque(ranking.claim)
        turns_due = _in_turn(offers, chosen)
        wants = [due.prompt_id for due in turns_due if due.prompt_id is not None]
        claimed = await self._claim(wants, rows, evidence)
        if self.config.mixture.is_mixed:
            await self._forfeit(_let_pass(turns_due, claimed))
        if claimed.visits:
            self.pipeline.round_begun()
        return len(claimed.visits)

    async def _forfeit(self, let_pass: Counter[str]) -> None:
        """Count turns that were not wanted, and those that were over for pools with nothing to claim."""
        taken = Counter(await self.table.turns_taken()) + let_pass
        claimable = {pool: found.prompts for pool, found in (await self.table.claimable()).items()}
        over = forfeited(self.config.mixture, taken, claimable)
        await self.table.forfeit(self.transactor, let_pass + Counter(over))

    async def _offers(self, wanted: int) -> list[Offer]:
        offers = await self._look(wanted)
        if offers or self.pipeline.num_visits:
            self.is_revisiting = self.is_revisiting and not offers
            return offers
        if self.config.partial_batches and self.pipeline.published():
            # A smaller batch moves the learner on, and with it the versions at which the others return.
            return []
        # Everything is deferred or evicted: rather than stop, look again at what has waited longest, a batch at a time.
        returned = await self.table.return_earliest(self.transactor, min(wanted, self.config.batch_size))
        self.is_revisiting = bool(returned)
        if not returned:
            return []
        log.info("prompts_returned", run=self.run_id, version=self.pipeline.policy_version, prompts=returned, due=False)
        return await self._look(wanted)

    async def _look(self, wanted: int) -> list[Offer]:
        """Some of the claimable prompts: of one pool, or of each whose turn comes."""
        mixture = self.config.mixture
        if not mixture.is_mixed:
            sample = await self.table.sample(sample_size(wanted))
            return [Offer(pool=mixture.names[0], turns=range(wanted), sample=sample)] if sample else []
        ready = await self.table.claimable()
        epochs = [found.epoch for found in ready.values() if found.epoch is not None]
        self.rule.epoch = max(self.rule.epoch, min(epochs, default=0))
        claimable = {pool: found.prompts for pool, found in ready.items()}
        order = turns(mixture, await self.table.turns_taken(), claimable, wanted)
        return [
            Offer(
                pool=pool,
                turns=[number for number, turn in enumerate(order) if turn == pool],
                sample=await self.table.sample(sample_size(count), pool),
            )
            for pool, count in Counter(order).items()
        ]

    async def _candidates(self, sample: Sequence[str], rows: dict[str, Row]) -> list[Candidate]:
        foreseen = await self.rule.priors(sample)
        candidates = []
        for prompt_id in sample:
            evidence = self._evidence(rows.get(prompt_id), foreseen.get(prompt_id, self.rule.prior))
            is_foreseen = prompt_id in foreseen and not evidence.num_rollouts
            candidates.append(Candidate(prompt_id=prompt_id, evidence=evidence, foreseen=is_foreseen))
        return candidates

    def _evidence(self, row: Row | None, prior: Prior) -> Evidence:
        version = self.pipeline.policy_version
        if row is None:
            return Evidence.fresh(prior, version)
        return row.evidence.aged(version, prior, self.config.discount)

    def _rank(self, candidates: list[Candidate], wanted: int) -> Ranking:
        if not self.config.mixture.is_mixed:
            self.rule.epoch = max(self.rule.epoch, candidates[0].evidence.visits)
        demand = Demand(
            prompts=wanted,
            version=self.pipeline.live_version,
            pass_rate=self.pipeline.pass_rate.rate,
            batch_size=self.config.batch_size,
        )
        return self.rule.allocator.rank(candidates, demand, self.rng)

    async def _claim(self, prompt_ids: Sequence[str], rows: dict[str, Row], evidence: dict[str, Evidence]) -> Claimed:
        prompts = {prompt.prompt_id: prompt for prompt in await self.pools.prompts(prompt_ids)}
        claimed = await self.visits.claim([self._visit(prompt_id) for prompt_id in prompt_ids])
        self.out_of_budget = claimed.is_out_of_budget
        for visit in claimed.refused:
            log.info("not_claimed", run=self.run_id, prompt=visit.prompt_id, reason="it is not claimable any more")
        for visit in claimed.visits:
            prompt_id = visit.prompt_id
            log.info("claimed", run=self.run_id, prompt=prompt_id, visit=visit.visit_id, reserved=visit.reserved)
            self.pipeline.num_visits += 1
            self.start(visit, prompts[prompt_id], rows.get(prompt_id) or Row(evidence=evidence[prompt_id]))
        return claimed

    def _visit(self, prompt_id: str) -> Visit:
        return Visit(
            visit_id=uuid.uuid4().hex[:16],
            prompt_id=prompt_id,
            fence=self.fence,
            reserved=self.rule.allocator.largest_group,
        )

    async def _pass_over(self, passed_over: Sequence[PassedOver], evidence: Mapping[str, Evidence]) -> None:
        if not passed_over:
            return
        version, at = self.pipeline.policy_version, self.now()
        rows = [
            PassedRow(
                prompt_id=passed.prompt_id,
                row=Row(evidence=evidence[passed.prompt_id].passed_over(passed.reason)),
                verdict=passed.verdict,
                event=Event(at=at, version=version, what="passed_over", reason=passed.reason),
            )
            for passed in passed_over
        ]
        await self.table.pass_over(self.transactor, rows)
        for passed in passed_over:
            log.info(
                "passed_over", run=self.run_id, prompt=passed.prompt_id, verdict=passed.verdict, reason=passed.reason
            )
