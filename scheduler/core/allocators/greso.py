"""GRESO: a prompt that taught nothing lately is probably not worth its rollouts now (arXiv 2506.02177).

Owns: passing prompts over by the trace of their visits, before a rollout is spent on them, and the two probabilities
that follow what the visits show. Never decides on pilots: a prompt that is claimed gets a whole group, which is dropped
if its rollouts all agree, as in DAPO. Invariant: a prompt is never passed over for certain, and one whose last visit
was trained, or that was never visited, is never passed over.

A prompt whose last z visits were all right is passed over with probability 1 - max(p_easy^z, 0.01), one whose last z
were all wrong with 1 - max(p_hard^z, 0.01) (section 4, probabilistic filtering; the floor is the release's). After each
step p_easy and p_hard move by 0.01 (down if the share of such groups reached its target, up if not), so that of all
groups sampled about 25 % have zero variance, hard ones twice as many as easy ones (section 4, self-adjustment; section
5, settings). What the paper's adaptive batch size is for, the engine does for every rule: as many claims as a batch
still needs at the measured pass rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

import numpy as np

from scheduler.core.allocators.interface import Candidate, Demand, Experience, PassedOver, Ranking
from scheduler.core.allocators.orders import fewest_visits_first
from scheduler.core.allocators.whole_group import WholeGroup
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Evidence
from scheduler.core.types import Verdict


class TraceReason(StrEnum):
    """Why a prompt was passed over."""

    EASY_LATELY = "easy_lately"
    """Its last visits were all right."""
    HARD_LATELY = "hard_lately"
    """Its last visits were all wrong."""


_REASONS = {Verdict.SKIP: TraceReason.EASY_LATELY, Verdict.DEFER: TraceReason.HARD_LATELY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Greso(WholeGroup):
    """Pass over, at random, prompts that taught nothing at their last visits.

    Raises InvalidInput for a group of fewer than two, shares outside [0, 1], a floor of 0, or base probabilities
    outside their bounds.
    """

    p_easy: float = 0.5
    """Base probability of exploring a prompt that was all right at its last visit."""
    p_hard: float = 0.5
    """The same for one that was all wrong."""
    floor: float = 0.01
    """Least probability of exploring any prompt, above 0."""
    target_easy: float = 0.25 / 3
    """Share of visits that may turn out all right."""
    target_hard: float = 0.5 / 3
    """Share of visits that may turn out all wrong: twice the other, for they will change as the policy learns."""
    step: float = 0.01
    """By how much a base probability moves after each training step."""
    least_p: float = 0.05
    """Base probabilities move down no further."""
    most_p: float = 0.95
    """They move up no further."""

    def __post_init__(self) -> None:
        WholeGroup.__post_init__(self)
        if not 0.0 < self.floor <= 1.0:
            raise InvalidInput(f"floor lies in (0, 1], not {self.floor}", field="parameters.floor")
        for field, value in (
            ("target_easy", self.target_easy),
            ("target_hard", self.target_hard),
            ("step", self.step),
        ):
            if not 0.0 <= value <= 1.0:
                raise InvalidInput(f"{field} lies in [0, 1], not {value}", field=f"parameters.{field}")
        for field, value in (("p_easy", self.p_easy), ("p_hard", self.p_hard)):
            if not 0.0 <= self.least_p <= value <= self.most_p <= 1.0:
                raise InvalidInput(
                    f"base probabilities have 0 <= least_p <= {field} <= most_p <= 1, not least_p={self.least_p}, "
                    f"{field}={value}, most_p={self.most_p}",
                    field=f"parameters.{field}",
                )

    @property
    def name(self) -> str:
        """`greso`."""
        return "greso"

    def exploration(self, evidence: Evidence) -> float:
        """The probability with which a prompt with such a trace is claimed when its turn comes."""
        if evidence.last_verdict is Verdict.SKIP:
            return max(self.p_easy**evidence.streak, self.floor)
        if evidence.last_verdict is Verdict.DEFER:
            return max(self.p_hard**evidence.streak, self.floor)
        return 1.0

    def rank(self, candidates: Sequence[Candidate], demand: Demand, rng: np.random.Generator) -> Ranking:
        """Take prompts in random order, fewest visits first, and pass over some, until enough are claimed.

        Where that leaves none of all candidates, none is passed over, as in the release.
        """
        evidence = {candidate.prompt_id: candidate.evidence for candidate in candidates}
        order = fewest_visits_first(candidates, len(candidates), rng)
        claim: list[str] = []
        passed_over: list[PassedOver] = []
        for prompt_id in order:
            if len(claim) >= demand.prompts:
                break
            if rng.random() < self.exploration(evidence[prompt_id]):
                claim.append(prompt_id)
            else:
                passed_over.append(_passed_over(prompt_id, evidence[prompt_id]))
        if not claim:
            return Ranking(claim=order[: max(0, demand.prompts)])
        return Ranking(claim=tuple(claim), passed_over=tuple(passed_over))

    def adapted(self, experience: Experience) -> Self:
        """Explore less of what turned out to have zero variance too often, and more of what did too rarely."""
        visits = sum(experience.visits.values())
        if not visits:
            return self
        easy = experience.visits.get(Verdict.SKIP, 0) / visits
        hard = experience.visits.get(Verdict.DEFER, 0) / visits
        return replace(
            self,
            p_easy=self._moved(self.p_easy, down=easy >= self.target_easy),
            p_hard=self._moved(self.p_hard, down=hard >= self.target_hard),
        )

    def _moved(self, p: float, *, down: bool) -> float:
        return max(self.least_p, p - self.step) if down else min(self.most_p, p + self.step)


def _passed_over(prompt_id: str, evidence: Evidence) -> PassedOver:
    verdict = Verdict.SKIP if evidence.last_verdict is Verdict.SKIP else Verdict.DEFER
    return PassedOver(prompt_id=prompt_id, verdict=verdict, reason=_REASONS[verdict])
