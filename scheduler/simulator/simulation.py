"""One simulated run: claim, pilot, decide, commit, train, one batch after the other.

Owns: the loop, which asks an allocator what the engine would ask it, in the engine's order. Never does I/O, and shows
an allocator nothing that the engine would not. Invariants: the same seed gives the same run; a prompt is in a batch
once, and trained at most once an epoch; a group is no larger than the setting allows.

Differences from the engine, which is asynchronous: a batch is sampled and trained before the next one begins, with one
weight version each, and whatever is asked for comes back at once. A rule adapts once a batch, never earlier, and
nothing is foreseen: modelled prompts have no wording.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from scheduler.core.allocators.interface import (
    Allocator,
    Commit,
    Demand,
    Experience,
    More,
    PassedOver,
    ReadyGroup,
    Settle,
)
from scheduler.core.allocators.orders import sample_size
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import VERDICT_OUTCOMES, Outcome
from scheduler.core.staleness import PassRate, pilot_demand
from scheduler.core.types import Rollout, Stage, Verdict
from scheduler.simulator.account import Account
from scheduler.simulator.memory import Memory
from scheduler.simulator.pool import Lesson, Pool
from scheduler.simulator.rollouts import Mint, Tally
from scheduler.simulator.setting import Setting
from scheduler.simulator.turns import Turns
from scheduler.simulator.visits import Finished, Survivor

_MOST_TURNS_A_BATCH = 2
"""Turns of the whole pool after which a batch that is not full is trained as it is."""


def simulate(allocator: Allocator, pool: Pool, setting: Setting, *, seed: int) -> Account:
    """Run a rule on a pool, which a run changes if it drifts; returns what it bought.

    Ends early once nothing is left to claim. Raises InvalidInput for a rule that asks for a group larger than the
    setting allows, or that selects nothing out of a full batch.
    """
    return _Run(allocator, pool, setting, seed).to_end()


class _Run:
    """A simulated run under way."""

    def __init__(self, allocator: Allocator, pool: Pool, setting: Setting, seed: int) -> None:
        self._allocator = allocator
        self._pool = pool
        self._setting = setting
        self._turns = Turns(len(pool), seed=seed)
        self._memory = Memory(discount=setting.discount)
        self._choices, self._chances = (np.random.default_rng([seed, stream]) for stream in (1, 2))
        self._mint = Mint(0)
        self._waiting: list[Survivor] = []
        """Longest first."""
        self._finished: list[Finished] = []
        self._offered: set[str] = set()
        """Finished groups that an earlier selection left."""
        self._pass_rate = PassRate()
        self._account = Account()
        self._visits: Counter[Verdict] = Counter()
        self._grouped = 0
        """Rollouts in the groups finished since the last step."""
        self._mixed = 0
        """Rollouts in those of them whose rewards differ."""
        self._bought = 0.0
        """Sum over the groups finished since the last step of rollouts x variance of their rewards."""

    def to_end(self) -> Account:
        self._account.reached(0, self._pool.mean)
        for step in range(1, self._setting.steps + 1):
            before, tokens_before = self._account.generated, self._account.tokens
            self._fill()
            batch = self._selected()
            if not batch:
                break
            self._train(batch)
            self._account.reached(step, self._pool.mean)
            self._adapt(step, self._account.generated - before, self._account.tokens - tokens_before)
        self._drop([*self._waiting, *self._finished], Outcome.CANCELLED)
        self._account.epochs = self._turns.epoch + 1
        return self._account

    # Claim.

    def _fill(self) -> None:
        """Fill a batch, a round or what is in demand at a time, until no slot is free or no prompt is left."""
        self._turns.return_due(self._memory.version)
        self._expire()
        self._grant()
        in_rounds = self._allocator.round_batches is not None
        most = self._account.considered + _MOST_TURNS_A_BATCH * len(self._pool)
        wanted = self._round if in_rounds else self._demand
        while wanted > 0 and self._account.considered < most:
            claimed = self._claim(wanted)
            if claimed is None:
                break
            wanted -= claimed
            if wanted <= 0 or not in_rounds:
                self._grant()
                wanted = self._demand
        self._grant()
        if self._allocator.discards_surplus:
            self._discard_surplus()

    @property
    def _free(self) -> int:
        return max(0, self._setting.batch_size - len(self._finished))

    @property
    def _round(self) -> int:
        return (self._allocator.round_batches or 0) * self._setting.batch_size

    @property
    def _demand(self) -> int:
        """Prompts wanted now that every waiting survivor has been considered for a slot."""
        if not self._free:
            return 0
        return self._round or pilot_demand(self._free, 0, self._pass_rate.rate, self._setting.pilot_cap)

    def _claim(self, wanted: int) -> int | None:
        """Claim at most so many prompts and visit them; returns how many, or None if there is nothing to claim."""
        sample = self._sample(wanted)
        if not sample:
            return None
        demand = Demand(
            prompts=wanted,
            version=self._memory.version,
            pass_rate=self._pass_rate.rate,
            batch_size=self._setting.batch_size,
        )
        ranking = self._allocator.rank(self._memory.candidates(sample), demand, self._choices)
        for passed in ranking.passed_over:
            self._pass_over(passed)
        for prompt_id in ranking.claim:
            self._visit(int(prompt_id))
        return len(ranking.claim) if ranking.claim or ranking.passed_over else None

    def _sample(self, wanted: int) -> list[int]:
        limit = sample_size(wanted)
        sample = self._turns.sample(limit)
        if not sample:
            # Everything waits: rather than stop, look again at what has waited longest, a batch at a time.
            self._turns.return_earliest(min(wanted, self._setting.batch_size))
            sample = self._turns.sample(limit)
        return sample

    def _pass_over(self, passed: PassedOver) -> None:
        prompt = int(passed.prompt_id)
        self._memory.pass_over(prompt, passed.reason)
        self._account.considered += 1
        self._account.verdicts[passed.verdict] += 1
        self._turns.take(prompt)
        self._turns.put_back(prompt)

    # Pilot and decide.

    def _visit(self, prompt: int) -> None:
        self._turns.take(prompt)
        self._account.considered += 1
        evidence, tally = self._memory.candidate(prompt).evidence, Tally()
        rollouts: tuple[Rollout, ...] = ()
        while True:
            decision = self._allocator.decide(evidence, rollouts)
            if isinstance(decision, More):
                right = self._draw(prompt, decision.count, tally)
                tally = Tally(pilots=tally.pilots + decision.count, right_pilots=tally.right_pilots + right)
                rollouts += self._mint.rollouts(Stage.PILOT, right, decision.count - right, self._pool.lengths[prompt])
                continue
            self._pass_rate = self._pass_rate.observed(isinstance(decision, Commit))
            if isinstance(decision, Settle):
                return self._settle(prompt, evidence, tally, decision)
            survivor = Survivor(
                prompt=prompt, evidence=evidence, tally=tally, version=self._memory.version, commits=decision.count
            )
            return self._waiting.append(survivor)

    def _draw(self, prompt: int, count: int, so_far: Tally) -> int:
        """Sample so many rollouts; returns how many are right."""
        size = so_far.rollouts + count
        if size > self._setting.largest_group:
            raise InvalidInput(
                f"{self._allocator.name} asks for {size} rollouts of one prompt, where groups are capped at "
                f"{self._setting.largest_group}"
            )
        self._account.generated += count
        self._account.tokens += count * self._pool.lengths[prompt]
        return int(self._chances.binomial(count, self._pool.rates[prompt]))

    def _settle(self, prompt: int, evidence: Evidence, tally: Tally, end: Settle) -> None:
        self._judge(prompt, evidence, tally, end.verdict, end.reason)
        self._account.outcomes[VERDICT_OUTCOMES[end.verdict]] += tally.rollouts
        if end.revisit_after == 0:
            self._turns.put_back(prompt)
        elif end.revisit_after is not None:
            self._turns.wait(prompt, self._memory.version + end.revisit_after)

    def _judge(self, prompt: int, evidence: Evidence, tally: Tally, verdict: Verdict, reason: str) -> None:
        self._memory.judge(prompt, self._observe(prompt, evidence, tally), verdict, reason)
        self._account.verdicts[verdict] += 1
        self._visits[verdict] += 1

    def _observe(self, prompt: int, evidence: Evidence, tally: Tally) -> Evidence:
        return self._memory.observe(prompt, evidence, tally, self._pool.lengths[prompt])

    # Commit.

    def _grant(self) -> None:
        """Give free slots to survivors, those that have waited longest first, and let them commit."""
        free = self._free
        granted, self._waiting = self._waiting[:free], self._waiting[free:]
        for survivor in granted:
            self._commit(survivor)

    def _commit(self, survivor: Survivor) -> None:
        prompt, pilots = survivor.prompt, survivor.tally
        right = self._draw(prompt, survivor.commits, pilots) if survivor.commits else 0
        tally = Tally(
            pilots=pilots.pilots, right_pilots=pilots.right_pilots, commits=survivor.commits, right_commits=right
        )
        if tally.rollouts < 2:
            raise InvalidInput(f"{self._allocator.name} commits a group of {tally.rollouts} rollouts")
        self._judge(prompt, survivor.evidence, tally, Verdict.COMMIT, "published")
        self._grouped += tally.rollouts
        self._mixed += tally.rollouts if tally.is_mixed else 0
        self._bought += tally.rollouts * tally.variance
        order = self._account.verdicts[Verdict.COMMIT]
        ready = ReadyGroup(
            group_id=str(order),
            oldest_version=survivor.version if pilots.pilots else self._memory.version,
            success_rate=tally.right / tally.rollouts,
            reward_std=tally.variance**0.5,
            num_rollouts=tally.rollouts,
            published_order=order,
        )
        self._finished.append(Finished(prompt=prompt, tally=tally, ready=ready))

    def _expire(self) -> None:
        """Drop survivors that have waited too long; what their pilots said is remembered."""
        oldest = self._memory.version - self._setting.max_wait
        expired = [survivor for survivor in self._waiting if survivor.version < oldest]
        self._waiting = [survivor for survivor in self._waiting if survivor.version >= oldest]
        for survivor in expired:
            self._forgo(survivor)
        self._drop(expired, Outcome.EXPIRED)

    def _discard_surplus(self) -> None:
        """Drop the groups that are finished as they are and found no slot."""
        surplus = [survivor for survivor in self._waiting if not survivor.commits]
        self._waiting = [survivor for survivor in self._waiting if survivor.commits]
        for survivor in surplus:
            self._forgo(survivor)
        self._drop(surplus, Outcome.SURPLUS)

    def _forgo(self, survivor: Survivor) -> None:
        evidence = self._observe(survivor.prompt, survivor.evidence, survivor.tally)
        self._memory.judge(survivor.prompt, evidence, Verdict.COMMIT, "no slot in time")

    def _drop(self, ended: Iterable[Survivor | Finished], outcome: Outcome) -> None:
        for each in ended:
            self._account.outcomes[outcome] += each.tally.rollouts
            self._turns.put_back(each.prompt)

    # Train.

    def _selected(self) -> list[Finished]:
        """The batch, which leaves what the rule holds or discards."""
        if not self._finished:
            return []
        by_id = {group.ready.group_id: group for group in self._finished}
        selection = self._allocator.select(
            [group.ready for name, group in by_id.items() if name not in self._offered],
            [group.ready for name, group in by_id.items() if name in self._offered],
            min(self._setting.batch_size, len(self._finished)),
        )
        if not selection.batch:
            raise InvalidInput(f"{self._allocator.name} selects none of {len(by_id)} finished groups")
        batch = [by_id.pop(name) for name in selection.batch]
        self._drop([by_id.pop(name) for name in selection.surplus], Outcome.SURPLUS)
        self._finished = list(by_id.values())
        self._offered = set(by_id)
        return batch

    def _train(self, batch: list[Finished]) -> None:
        lessons = []
        for group in batch:
            size = group.tally.rollouts
            self._account.trained(group.prompt, size, self._pool.variance(group.prompt), is_mixed=group.tally.is_mixed)
            lessons.append(Lesson(prompt=group.prompt, weight=size / self._setting.largest_group))
            self._turns.put_back(group.prompt)
        self._pool.learn(lessons)

    def _adapt(self, step: int, num_rollouts: int, num_tokens: int) -> None:
        """The next weight version is live, and the rule may learn from the step."""
        self._memory.advance()
        self._mint = Mint(self._memory.version)
        experience = Experience(
            step=step,
            epoch=self._turns.epoch,
            prior=self._memory.prior,
            visits=dict(self._visits),
            num_rollouts=num_rollouts,
            num_tokens=num_tokens,
            num_grouped=self._grouped,
            num_mixed=self._mixed,
            signal=self._bought,
        )
        self._visits.clear()
        self._bought = 0.0
        self._grouped = self._mixed = 0
        self._allocator = self._allocator.adapted(experience)
