"""Our own rule: every rollout goes where it is worth most, at the price that rollouts have lately fetched.

Owns: the decisions that follow from what a visit is worth. Never asks for more pilots than `pilots`, and never gives a
prompt up for good unless told to. Invariants: decisions depend on the rule and its arguments alone; while anything is
claimable, something is claimed.

It plays a renewal game: maximise the signal per rollout over many visits. A group of n rollouts has the signal w u(n).
At a price per rollout the best that can come of a visit with belief Beta(a, b) after k pilots, s of them right, is

    W(s, k) = max( 0                                              give the visit up
                   max over n of E[w] u(n) - price (n - k)        commit up to n rollouts
                   E[W(s + j, k + t)] - price (t + r) )           t more pilots, j of them right: BetaBinomial

with E[w] of the posterior Beta(a + s, b + k - s), and r for the time that a round takes. The price for which
W = 0 is the best ratio attainable (Dinkelbach, Management Science 13 (7), 1967), and the ratio that the rule attains at
some price is a better price: so the price follows the signal per rollout of the run itself.

What follows from it, where the released rule (arXiv 2605.26606) has constants: pilots come a few at a time and stop as
soon as the verdict is settled; the band is as wide as the pool makes it; a prompt whose history says enough is
committed unseen, or passed over unseen, with a floor (GRESO, arXiv 2506.02177), until its evidence has faded
(MoPPS, arXiv 2507.04632); a group is as large as its last rollouts are worth.

w depends on what the learner does with a group. With advantages that are divided by their standard deviation (GRPO,
arXiv 2402.03300) every group with both outcomes pulls equally hard: w = 1 if it has both, else 0. Without
(Dr. GRPO, arXiv 2503.20783; RLOO, arXiv 2402.14740) it pulls by its variance: w = p (1 - p).

u(n) = n: every rollout is worth as much as the first. With a noise scale v it is n / (1 + n / v): the progress of a
step over batches of n, where v is the size at which noise and signal are equal (McCandlish et al., arXiv 1812.06162,
equation 2.7).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np

from scheduler.core.allocators.interface import (
    Candidate,
    Commit,
    Decision,
    Demand,
    Experience,
    More,
    PassedOver,
    Ranking,
    Settle,
)
from scheduler.core.allocators.market import Floats, Game, Market
from scheduler.core.allocators.rule import Rule
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Belief, Evidence
from scheduler.core.types import Rollout, Stage, Verdict

_CHEAPEST, _DEAREST = 0.25, 4.0
"""Tokens of a prompt's rollouts relative to the mean count within these bounds: a few short ones prove little."""


class AdaptiveReason(StrEnum):
    """Why a prompt gets no group."""

    TOO_EASY = "too_easy"
    """Mostly right: what could still be learnt is not worth the price."""
    TOO_HARD = "too_hard"
    """Mostly wrong: likewise."""
    FORESEEN_EASY = "foreseen_easy"
    """Never visited; prompts worded like it were mostly right."""
    FORESEEN_HARD = "foreseen_hard"
    """Likewise, and mostly wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive(Rule):
    """Spend where signal per rollout is best. Raises InvalidInput for sizes or shares that make no rule."""

    pilots: int
    """Pilots of a visit at most."""
    commits: int
    """Rollouts on top of as many pilots, at most."""
    pilot_step: int = 4
    """Pilots asked for at a time; with `pilots` or more, all of them at once."""
    round_cost: float = 1.0
    """Rollouts that it is worth to be spared one more round of pilots: it takes time, and makes a group older."""
    smallest_group: int | None = None
    """Least size of a group; None: every group has pilots + commits rollouts."""
    noise_scale: float | None = None
    """Rollouts of a group at which their marginal worth has fallen to a quarter; None: it never falls."""
    normalised: int = 0
    """1 if the learner divides advantages by their standard deviation: every group with both outcomes is then worth
    the same; 0: its variance."""
    floor: float = 0.05
    """Probability that a prompt which its history says is not worth a visit gets one anyway."""
    explore: float = 0.0
    """Probability that a visit with mixed pilots is committed although it is not worth its price: so that none is
    without a chance, and a learner can undo the selection by weighting with 1 / probability."""
    rounds: int | None = None
    """Batches' worth of prompts claimed together; None: on demand."""
    remember: int = 1
    """0 forgets what earlier visits showed."""
    foresee: int = 1
    """0 takes all prompts that were never visited to be alike, whatever their wording."""
    cost_aware: int = 1
    """0 takes every rollout to cost the same, however long."""
    evict_solved: int = 0
    """1 gives a prompt up for good once all its pilots are right."""
    market: Market = field(init=False, default_factory=Market)
    """What the run has taught the rule."""

    def __post_init__(self) -> None:
        if self.pilots < 1:
            raise InvalidInput(f"adaptive needs pilots >= 1, not {self.pilots}", field="pilots")
        for name in ("floor", "explore"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InvalidInput(f"{name} is a probability, not {getattr(self, name)}", field=f"parameters.{name}")
        for name in ("normalised", "remember", "foresee", "cost_aware", "evict_solved"):
            if getattr(self, name) not in (0, 1):
                raise InvalidInput(f"{name} is 0 or 1, not {getattr(self, name)}", field=f"parameters.{name}")
        if self.rounds is not None and self.rounds < 1:
            raise InvalidInput(f"rounds is 1 or more, or null, not {self.rounds}", field="parameters.rounds")
        _ = self._game

    @property
    def name(self) -> str:
        """`adaptive`."""
        return "adaptive"

    @property
    def largest_group(self) -> int:
        """n = m + c."""
        return self.pilots + self.commits

    @property
    def round_batches(self) -> int | None:
        """As told."""
        return self.rounds

    @property
    def adapts_early(self) -> bool:
        """A price that nothing fetches any more ends all commits, and with them the steps that would correct it."""
        return True

    @property
    def foresees(self) -> bool:
        """As told; there is nothing to learn from without memory."""
        return bool(self.foresee and self.remember)

    @property
    def _game(self) -> Game:
        return Game(
            pilot_step=min(self.pilot_step, self.pilots),
            most_pilots=self.pilots,
            smallest_group=self.largest_group if self.smallest_group is None else self.smallest_group,
            largest_group=self.largest_group,
            round_cost=self.round_cost,
            noise_scale=self.noise_scale,
            normalised=bool(self.normalised),
        )

    def adapted(self, experience: Experience) -> "Adaptive":
        """The price follows what the last step's rollouts fetched."""
        taught = replace(self)
        # Not a parameter that a run could set, so not one of the constructor.
        object.__setattr__(taught, "market", self.market.after(self._game, experience))
        return taught

    def rank(self, candidates: Sequence[Candidate], demand: Demand, rng: np.random.Generator) -> Ranking:
        """Best worth first; who is not worth a visit is passed over, but for the floor and those nobody knows.

        Where nobody is worth one, the best of them are visited all the same: a run never starves.
        """
        worth_C = self._worth([candidate.evidence for candidate in candidates])
        lucky_C = rng.random(len(candidates)) < self.floor
        order = rng.permutation(len(candidates))
        order = order[np.argsort(-worth_C[order], kind="stable")]
        unknown_C = np.array([_is_unknown(candidate) for candidate in candidates], dtype=bool)
        welcome_C = (worth_C > 0) | unknown_C | lucky_C
        if not welcome_C.any():
            return Ranking(claim=tuple(candidates[index].prompt_id for index in order[: demand.prompts]))
        return Ranking(
            claim=tuple(candidates[index].prompt_id for index in order if welcome_C[index])[: demand.prompts],
            passed_over=tuple(
                _passed_over(candidate) for candidate, welcome in zip(candidates, welcome_C, strict=True) if not welcome
            ),
        )

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """Commit, go on or give up, whichever is worth most; a prompt that nobody knows gets pilots first."""
        right, count = sum(rollout.correct for rollout in rollouts), len(rollouts)
        if not count and not self._knows(evidence):
            # Without pilots of first visits nothing would ever correct the prior that speaks for doing without them.
            return More(count=self._game.pilot_step)
        belief = self._belief(evidence).updated(right, count - right)
        choice = _choice(
            self._game, round(belief.a, 2), round(belief.b, 2), round(self._price(evidence), 4), count, right
        )
        rest = max(0, choice.size - count)
        if choice.commit >= max(0.0, choice.more) or any(rollout.stage is Stage.COMMIT for rollout in rollouts):
            return Commit(count=rest)
        if choice.more > 0 or not count:
            return More(count=self._game.pilot_step)
        if 0 < right < count and _chance(rollouts) < self.explore:
            return Commit(count=rest, selection_probability=self.explore)
        if self.evict_solved and right == count:
            return Settle(verdict=Verdict.EVICT, reason=AdaptiveReason.TOO_EASY, revisit_after=None)
        verdict, reason = _verdict(belief)
        return Settle(verdict=verdict, reason=reason, revisit_after=0)

    def _worth(self, evidence_C: Sequence[Evidence]) -> Floats:
        beliefs = [self._belief(evidence) for evidence in evidence_C]
        a_C, b_C = np.array([belief.a for belief in beliefs]), np.array([belief.b for belief in beliefs])
        price_C = np.array([self._price(evidence) for evidence in evidence_C])
        return self._game.outlook(a_C, b_C, price_C).worth_C

    def _knows(self, evidence: Evidence) -> bool:
        return bool(self.remember and evidence.num_rollouts)

    def _belief(self, evidence: Evidence) -> Belief:
        if self.remember:
            return evidence.belief
        return Belief.fresh(self.market.prior, evidence.belief.version)

    def _price(self, evidence: Evidence) -> float:
        """Per rollout of this prompt: rollouts twice as long are twice as dear."""
        price, usual = self.market.price_in(self._game), self.market.tokens_per_rollout
        if not self.cost_aware or not usual or not evidence.tokens_per_rollout:
            return price
        return price * min(_DEAREST, max(_CHEAPEST, evidence.tokens_per_rollout / usual))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """An outlook of one visit."""

    commit: float
    size: int
    more: float


@lru_cache(maxsize=65536)
def _choice(game: Game, a: float, b: float, price: float, num_rollouts: int, num_right: int) -> _Choice:
    """Beliefs and prices are rounded, so that the many visits of prompts that nobody knows yet are looked up."""
    outlook = game.outlook(np.array([a]), np.array([b]), np.array([price]), num_rollouts, num_right)
    return _Choice(commit=float(outlook.commit_C[0]), size=int(outlook.size_C[0]), more=float(outlook.more_C[0]))


def _chance(rollouts: Sequence[Rollout]) -> float:
    """A number in [0, 1) that the visit's own rollouts draw: the same however often it is asked for."""
    rids = ",".join(sorted(rollout.rid for rollout in rollouts))
    return int.from_bytes(hashlib.blake2b(rids.encode(), digest_size=8).digest(), "big") / 2**64


def _is_unknown(candidate: Candidate) -> bool:
    return not candidate.evidence.visits and not candidate.foreseen


def _verdict(belief: Belief) -> tuple[Verdict, AdaptiveReason]:
    if belief.mean >= 0.5:
        return Verdict.SKIP, AdaptiveReason.TOO_EASY
    return Verdict.DEFER, AdaptiveReason.TOO_HARD


def _passed_over(candidate: Candidate) -> PassedOver:
    verdict, reason = _verdict(candidate.evidence.belief)
    if not candidate.evidence.num_rollouts:
        reason = AdaptiveReason.FORESEEN_EASY if verdict is Verdict.SKIP else AdaptiveReason.FORESEEN_HARD
    return PassedOver(prompt_id=candidate.prompt_id, verdict=verdict, reason=reason)
