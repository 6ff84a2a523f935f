"""How hard a pool is, and what a rule would make of it: from the pilots of a run that only looked.

Owns: the arithmetic of the report. Pure. Invariants: shares are of the prompts whose pilots all came back; what a rule
is said to do is what it decides on just those pilots, as it is built, before it has adapted to anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.core.allocators.interface import Allocator, Commit, Settle
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import Ledger
from scheduler.core.packed import Logprobs, TokenIds
from scheduler.core.prior import fit_counted_prior
from scheduler.core.spend import VISITED, first_verdicts
from scheduler.core.types import FinishReason, Rollout, Stage, VersionSpan

UNDECIDED = "more"
"""A rule that would ask for further pilots before it decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRateBar:
    """Prompts with the same number of right pilots."""

    correct: int
    pass_rate: float
    """Right pilots ÷ pilots."""
    prompts: int
    decision: str
    """What the rule decides of such a prompt: commit, skip, defer, evict, or more where it asks for more pilots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A pool as its pilots showed it."""

    pilots: int
    """Of each prompt."""
    num_prompts: int
    """Prompts whose pilots all came back."""
    num_unfinished: int
    """Prompts looked at, by a visit that has ended, whose pilots have not all come back."""
    bars: tuple[PassRateBar, ...]
    """From none right to all right: a histogram of pass rates."""
    num_rollouts: int
    """Pilots spent."""
    num_tokens: int
    """Generated tokens of them."""

    @property
    def mean_pass_rate(self) -> float | None:
        """Over prompts; None before the first, as the shares below."""
        return self._share(sum(bar.prompts * bar.pass_rate for bar in self.bars))

    @property
    def all_wrong_rate(self) -> float | None:
        """Share of prompts without a right pilot."""
        return self._share(self.bars[0].prompts)

    @property
    def all_right_rate(self) -> float | None:
        """Share of prompts whose pilots were all right."""
        return self._share(self.bars[-1].prompts)

    @property
    def mixed_rate(self) -> float | None:
        """Share of the others: those that a group would teach something of."""
        return self._share(self.num_prompts - self.bars[0].prompts - self.bars[-1].prompts)

    @property
    def decisions(self) -> Mapping[str, int]:
        """Prompts by what the rule decides of them."""
        found: dict[str, int] = {}
        for bar in self.bars:
            found[bar.decision] = found.get(bar.decision, 0) + bar.prompts
        return found

    @property
    def skip_rate(self) -> float | None:
        """Estimated share of prompts that the rule would not commit, of those that it would decide on these pilots."""
        decided = self.num_prompts - self.decisions.get(UNDECIDED, 0)
        return (decided - self.decisions.get("commit", 0)) / decided if decided else None

    @property
    def tokens_per_prompt(self) -> float | None:
        """Generated tokens of the pilots of a prompt, on average over all that were looked at."""
        looked_at = self.num_prompts + self.num_unfinished
        return self.num_tokens / looked_at if looked_at else None

    @property
    def tokens_per_rollout(self) -> float | None:
        """Likewise of one pilot."""
        return self.num_tokens / self.num_rollouts if self.num_rollouts else None

    def _share(self, amount: float) -> float | None:
        return amount / self.num_prompts if self.num_prompts else None


def profile(counters: Mapping[str, int], allocator: Allocator, *, pilots: int) -> Profile:
    """What a profile's counters say of its pool, and what `allocator` would decide of its prompts."""
    seen = first_verdicts(counters)
    whole = {correct: prompts for (correct, count), prompts in seen.items() if count == pilots}
    evidence = Evidence.fresh(fit_counted_prior(seen), version=1)
    line = Ledger.from_counters(counters).stages[Stage.PILOT]
    return Profile(
        pilots=pilots,
        num_prompts=sum(whole.values()),
        num_unfinished=max(0, counters.get(VISITED, 0) - sum(whole.values())),
        bars=tuple(
            PassRateBar(
                correct=correct,
                pass_rate=correct / pilots,
                prompts=whole.get(correct, 0),
                decision=_decision(allocator, evidence, correct, pilots),
            )
            for correct in range(pilots + 1)
        ),
        num_rollouts=line.attempts,
        num_tokens=line.tokens,
    )


def _decision(allocator: Allocator, evidence: Evidence, correct: int, pilots: int) -> str:
    rollouts = tuple(_pilot(number, is_right=number < correct) for number in range(pilots))
    match allocator.decide(evidence, rollouts):
        case Commit():
            return "commit"
        case Settle(verdict=verdict):
            return verdict.value
        case _:
            return UNDECIDED


def _pilot(number: int, *, is_right: bool) -> Rollout:
    return Rollout(
        rid=f"pilot-{number}",
        stage=Stage.PILOT,
        token_ids=TokenIds.of((0,)),
        logprobs=Logprobs.of((0.0,)),
        finish_reason=FinishReason.STOP,
        spans=(VersionSpan(version=1, start=0, end=1),),
        reward=float(is_right),
        correct=is_right,
    )
