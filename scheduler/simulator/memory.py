"""What a simulated run knows of its prompts: the informativeness table, in memory.

Owns: rows, the prior fitted to first visits, the weight version they are brought up to, and the candidates made of
them. Never knows a true success rate. Invariant: what an allocator is shown is aged to the present version.
"""

from collections.abc import Sequence

from scheduler.core.allocators.interface import Candidate
from scheduler.core.informativeness import Evidence
from scheduler.core.prior import Prior, fit_prior
from scheduler.core.types import Verdict
from scheduler.simulator.rollouts import Tally, observed

_REFIT_AT = 1.1
"""The prior is fitted anew once so many times as many first visits are known: later ones move it little."""


class Memory:
    """The rows of one simulated run."""

    def __init__(self, *, discount: float) -> None:
        self._discount = discount
        self._rows: dict[int, Evidence] = {}
        self._candidates: dict[int, Candidate] = {}
        """Of this version: a prompt that is ranked again is not aged again."""
        self._first_visits: list[tuple[int, int]] = []
        self._num_fitted = 0
        self.version = 0
        self.prior = Prior()
        self._fresh = Evidence.fresh(self.prior, self.version)

    def candidates(self, prompts: Sequence[int]) -> list[Candidate]:
        """These prompts as a rule is shown them."""
        return [self.candidate(prompt) for prompt in prompts]

    def candidate(self, prompt: int) -> Candidate:
        """One prompt as a rule is shown it."""
        candidate = self._candidates.get(prompt)
        if candidate is None:
            row = self._rows.get(prompt)
            evidence = self._fresh if row is None else row.aged(self.version, self.prior, self._discount)
            candidate = self._candidates[prompt] = Candidate(prompt_id=str(prompt), evidence=evidence)
        return candidate

    def observe(self, prompt: int, evidence: Evidence, tally: Tally, length: int = 1) -> Evidence:
        """A visit's rollouts of `length` tokens, rejected ones too, or the estimate is biased: the evidence then."""
        if not evidence.visits and tally.pilots:
            self._first_visits.append((tally.right_pilots, tally.pilots))
        seen = observed(evidence, tally, version=self.version, prior=self.prior, discount=self._discount, length=length)
        self._write(prompt, seen)
        return seen

    def judge(self, prompt: int, evidence: Evidence, verdict: Verdict, reason: str) -> None:
        """A visit, or a look at the history alone, ended with this verdict."""
        self._write(prompt, evidence.judged(verdict, reason))

    def pass_over(self, prompt: int, reason: str) -> None:
        """Note that a prompt's history alone ended its turn."""
        self._write(prompt, self.candidate(prompt).evidence.passed_over(reason))

    def _write(self, prompt: int, evidence: Evidence) -> None:
        self._rows[prompt] = evidence
        self._candidates.pop(prompt, None)

    def advance(self) -> None:
        """The next weight version is live."""
        if len(self._first_visits) > _REFIT_AT * self._num_fitted:
            self.prior = fit_prior(self._first_visits)
            self._num_fitted = len(self._first_visits)
        self.version += 1
        self._candidates.clear()
        self._fresh = Evidence.fresh(self.prior, self.version)
