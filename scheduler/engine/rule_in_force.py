"""The rule a run follows now: its allocator as the run's experience has shaped it, and what is expected of prompts.

Owns: both, and when they change: once per training step. Never decides anything with them. Invariant: all parts of an
engine ask here, so that none follows an older rule than another.
"""

from collections.abc import Sequence

from scheduler.core.allocators.interface import Allocator, Experience
from scheduler.core.prior import Prior, fit_counted_prior
from scheduler.core.spend import GROUPED, MIXED, first_visits, signal, visits_judged
from scheduler.core.types import Prompt, Rollout, Verdict
from scheduler.engine.foresight import Foresight
from scheduler.state.runs import RunStore

_EARLY = 8
"""Visits for each group of a batch after which a rule that adapts early does: a fair share of commits is one in two."""


class RuleInForce:
    """One run's rule."""

    def __init__(
        self,
        allocator: Allocator,
        *,
        runs: RunStore,
        run_id: str,
        step: int,
        batch_size: int,
        foresight: Foresight | None = None,
    ) -> None:
        self.allocator = allocator
        self.prior = Prior()
        """Of the success rates of prompts of which nothing is foreseen."""
        self.foresight = foresight
        """Of a rule that foresees."""
        self.epoch = 0
        """Visits that every claimable prompt has had at least."""
        self._runs = runs
        self._run_id = run_id
        self._step = step
        self._patience = _EARLY * batch_size
        self._num_visits = 0
        """Visits that have ended since it last adapted."""
        self._seen: dict[str, int] = {}

    async def recover(self) -> None:
        """Begin where the run stands: what an earlier scheduler has seen shapes the prior, but adapts nothing."""
        self._seen = await self._runs.counters(self._run_id)
        self.prior = fit_counted_prior(first_visits(self._seen))

    def prior_of(self, prompt: Prompt) -> Prior:
        """What is expected of a prompt's success rate before its first visit."""
        foreseen = self.foresight.prior(prompt) if self.foresight else None
        return foreseen or self.prior

    async def priors(self, prompt_ids: Sequence[str]) -> dict[str, Prior]:
        """Likewise of many, as far as anything is foreseen of them."""
        return await self.foresight.priors(prompt_ids) if self.foresight else {}

    def saw(self, prompt: Prompt, rollouts: Sequence[Rollout], *, version: int) -> None:
        """A visit has ended with these rollouts, at a weight version."""
        self._num_visits += 1
        if self.foresight and rollouts:
            self.foresight.saw(prompt, rollouts, version=version)

    async def follow(self, step: int, *, version: int) -> None:
        """Adapt, if the learner has stepped since, or early; `version` is that of the learner's weights."""
        is_early = self.allocator.adapts_early and self._num_visits >= self._patience
        if step <= self._step and not is_early:
            return
        self._num_visits = 0
        before, now = self._seen, await self._runs.counters(self._run_id)

        def grown(name: str) -> int:
            return now.get(name, 0) - before.get(name, 0)

        self.prior = fit_counted_prior(first_visits(now))
        self.allocator = self.allocator.adapted(
            Experience(
                step=step,
                epoch=self.epoch,
                prior=self.prior,
                visits={verdict: visits_judged(now, verdict) - visits_judged(before, verdict) for verdict in Verdict},
                num_rollouts=grown("spent:rollouts"),
                num_tokens=grown("spent:tokens"),
                num_grouped=grown(GROUPED),
                num_mixed=grown(MIXED),
                signal=signal(now) - signal(before),
            )
        )
        if self.foresight:
            await self.foresight.refit(self.prior, version=version)
        self._step, self._seen = step, now
