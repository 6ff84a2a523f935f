"""MoPPS: predict each prompt's success rate and sample only those that look half solved (arXiv 2507.04632).

Owns: choosing, by Thompson sampling, which of a set of candidates are claimed. Never decides on pilots and filters
nothing: what is claimed gets a whole group, and every group is trained. Invariant: a candidate of the set is claimed or
passed over, so that a set is used once, as in the paper: B prompts are chosen of M fresh ones, and the others' turn in
the epoch is over.

The belief is the discounted Beta of `scheduler.core.informativeness`, the paper's recursive posterior with temporal
discounting (section 3.2), aged by weight versions instead of visits. A success rate is drawn from each candidate's
belief, and those closest to the target are taken (section 3.3; target 1/2, where a reward varies most).

The paper draws M once for a batch. Here prompts are claimed a few at a time, as slots come free, out of a set that many
times as large (`candidates_per_claim`): as selective, though the best are sought in a smaller set each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from scheduler.core.allocators.interface import Candidate, Commit, Decision, Demand, PassedOver, Ranking
from scheduler.core.allocators.orders import fewest_visits_first
from scheduler.core.allocators.whole_group import WholeGroup
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Evidence
from scheduler.core.types import Rollout, Verdict


class DrawReason(StrEnum):
    """Why a candidate was passed over: others were closer to the target."""

    LIKELY_EASY = "likely_easy"
    """The success rate drawn for it lies above the target: SKIP."""
    LIKELY_HARD = "likely_hard"
    """It does not: DEFER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mopps(WholeGroup):
    """Claim the candidates whose drawn success rate is closest to the target.

    Raises InvalidInput for a group of fewer than two, a target outside [0, 1], or less than one candidate a claim.
    """

    target: float = 0.5
    """Success rate sought."""
    candidates_per_claim: int = 4
    """M / B: candidates that a claim is chosen from; the engine shows a rule at least four for every one it wants."""

    def __post_init__(self) -> None:
        WholeGroup.__post_init__(self)
        if not 0.0 <= self.target <= 1.0:
            raise InvalidInput(f"a success rate lies in [0, 1], not {self.target}", field="parameters.target")
        if self.candidates_per_claim < 1:
            raise InvalidInput(
                f"a claim is chosen from 1 or more candidates, not {self.candidates_per_claim}",
                field="parameters.candidates_per_claim",
            )

    @property
    def name(self) -> str:
        """`mopps`."""
        return "mopps"

    def rank(self, candidates: Sequence[Candidate], demand: Demand, rng: np.random.Generator) -> Ranking:
        """Draw the set, fewest visits first, and a success rate for each of it; claim those closest to the target."""
        considered = fewest_visits_first(candidates, self.candidates_per_claim * demand.prompts, rng)
        beliefs = {candidate.prompt_id: candidate.evidence.belief for candidate in candidates}
        drawn = {prompt_id: rng.beta(beliefs[prompt_id].a, beliefs[prompt_id].b) for prompt_id in considered}
        closest = sorted(considered, key=lambda prompt_id: abs(drawn[prompt_id] - self.target))
        claim, rest = closest[: max(0, demand.prompts)], closest[max(0, demand.prompts) :]
        return Ranking(
            claim=tuple(claim),
            passed_over=tuple(self._passed_over(prompt_id, drawn[prompt_id]) for prompt_id in rest),
        )

    def _passed_over(self, prompt_id: str, drawn: float) -> PassedOver:
        if drawn > self.target:
            return PassedOver(prompt_id=prompt_id, verdict=Verdict.SKIP, reason=DrawReason.LIKELY_EASY)
        return PassedOver(prompt_id=prompt_id, verdict=Verdict.DEFER, reason=DrawReason.LIKELY_HARD)

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """Commit what the group still lacks; what its rollouts show, the belief learns."""
        return Commit(count=max(0, self.largest_group - len(rollouts)))
