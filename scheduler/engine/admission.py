"""Which prompts are claimed, and when none can be.

Owns: claiming. Never runs a visit itself: it hands claims on. Invariant: a claim reserves the largest group it may
become, and a claim that does not fit the budget waits for refunds.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from scheduler.core.allocators.interface import Candidate, Demand, PassedOver, Ranking
from scheduler.core.allocators.orders import sample_size
from scheduler.core.budget import Cost, worst_case
from scheduler.core.informativeness import Evidence
from scheduler.core.prior import Prior
from scheduler.core.run import RunConfig
from scheduler.core.types import Prompt
from scheduler.engine.circuit import Circuit
from scheduler.engine.pipeline import Pipeline
from scheduler.engine.rule_in_force import RuleInForce
from scheduler.state.pools import PoolStore
from scheduler.state.table import Event, PassedRow, Row, Table
from scheduler.state.transaction import Transactor
from scheduler.state.visit import Visit
from scheduler.state.visits import VisitStore

log = structlog.get_logger(__name__)

Start = Callable[[Visit, Prompt, Row], None]


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
    pools: PoolStore
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
        sample = await self._sample(wanted)
        self.out_of_prompts = not sample
        if not sample:
            return 0
        rows = await self.table.rows(sample)
        candidates = await self._candidates(sample, rows)
        ranking = self._rank(candidates, wanted)
        evidence = {candidate.prompt_id: candidate.evidence for candidate in candidates}
        await self._pass_over(ranking.passed_over, evidence)
        claimed = await self._claim(ranking.claim, rows, evidence)
        if claimed:
            self.pipeline.round_begun()
        return claimed

    async def _sample(self, wanted: int) -> list[str]:
        sample = await self.table.sample(sample_size(wanted))
        if sample or self.pipeline.num_visits:
            self.is_revisiting = self.is_revisiting and not sample
            return sample
        if self.config.partial_batches and self.pipeline.published():
            # A smaller batch moves the learner on, and with it the versions at which the others return.
            return []
        # Everything is deferred or evicted: rather than stop, look again at what has waited longest, a batch at a time.
        returned = await self.table.return_earliest(self.transactor, min(wanted, self.config.batch_size))
        self.is_revisiting = bool(returned)
        if not returned:
            return []
        log.info("prompts_returned", run=self.run_id, version=self.pipeline.policy_version, prompts=returned, due=False)
        return await self.table.sample(len(returned))

    async def _candidates(self, sample: list[str], rows: dict[str, Row]) -> list[Candidate]:
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
        self.rule.epoch = max(self.rule.epoch, candidates[0].evidence.visits)
        demand = Demand(
            prompts=wanted,
            version=self.pipeline.live_version,
            pass_rate=self.pipeline.pass_rate.rate,
            batch_size=self.config.batch_size,
        )
        return self.rule.allocator.rank(candidates, demand, self.rng)

    async def _claim(self, prompt_ids: tuple[str, ...], rows: dict[str, Row], evidence: dict[str, Evidence]) -> int:
        prompts = {prompt.prompt_id: prompt for prompt in await self.pools.prompts(self.config.pool, prompt_ids)}
        claimed = await self.visits.claim([self._visit(prompt_id) for prompt_id in prompt_ids])
        self.out_of_budget = claimed.is_out_of_budget
        for visit in claimed.refused:
            log.info("not_claimed", run=self.run_id, prompt=visit.prompt_id, reason="it is not claimable any more")
        for visit in claimed.visits:
            prompt_id = visit.prompt_id
            log.info("claimed", run=self.run_id, prompt=prompt_id, visit=visit.visit_id, reserved=visit.reserved)
            self.pipeline.num_visits += 1
            self.start(visit, prompts[prompt_id], rows.get(prompt_id) or Row(evidence=evidence[prompt_id]))
        return len(claimed.visits)

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
