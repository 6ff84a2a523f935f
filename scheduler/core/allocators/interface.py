"""What an allocator is asked and what it may answer.

Owns: the questions (candidates, demand, the rollouts of a visit, finished groups, experience), the answers, and the
protocol. Never decides anything itself. Invariant: an answer that makes no sense cannot be built, so that a wrong
allocator fails where it is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Evidence
from scheduler.core.prior import Prior
from scheduler.core.types import Rollout, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A claimable prompt and what is known of it."""

    prompt_id: str
    evidence: Evidence
    """Brought up to the present weight version: what is old has faded towards the prior."""
    foreseen: bool = False
    """Nobody has visited it, and its belief is what its wording says: a forecast, not the prior of the whole pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the run can use now."""

    prompts: int
    """Prompts wanted: a ranking claims at most so many."""
    version: int
    """The live weight version."""
    pass_rate: float
    """Measured share of piloted prompts that are committed, in (0, 1)."""
    batch_size: int
    """Groups of one training step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A prompt judged by its history alone, without a single pilot."""

    prompt_id: str
    verdict: Verdict
    reason: str

    def __post_init__(self) -> None:
        _refuse_commit(self.verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Which candidates to claim, best first. One neither claimed nor passed over simply stays claimable."""

    claim: tuple[str, ...]
    passed_over: tuple[PassedOver, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """Sample so many more pilots, then ask again."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InvalidInput(f"more pilots means at least 1, not {self.count}", field="count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Sample so many commits, then publish the group; with 0, publish it as it is."""

    count: int
    selection_probability: float = 1.0
    """Probability with which the rule commits a prompt with such pilots, in (0, 1]: a learner may weight by 1 / it."""

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InvalidInput(f"a commit has 0 or more rollouts, not {self.count}", field="count")
        if not 0.0 < self.selection_probability <= 1.0:
            raise InvalidInput(
                f"a selection probability lies in (0, 1], not {self.selection_probability}",
                field="selection_probability",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """End the visit with a verdict and without a group."""

    verdict: Verdict
    """SKIP, DEFER or EVICT."""
    reason: str
    """Why, as one word of the rule's own closed set: it labels a metric. The numbers behind it are in the evidence."""
    revisit_after: int | None
    """Weight versions until the prompt is claimable again; 0: at once, in normal order; None: never."""

    def __post_init__(self) -> None:
        _refuse_commit(self.verdict)
        if self.revisit_after is not None and self.revisit_after < 0:
            raise InvalidInput(f"versions to wait are 0 or more, not {self.revisit_after}", field="revisit_after")


Decision = More | Commit | Settle


def _refuse_commit(verdict: Verdict) -> None:
    if verdict is Verdict.COMMIT:
        raise InvalidInput("a prompt without a group cannot have the verdict commit", field="verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyGroup:
    """A finished group that waits for a batch."""

    group_id: str
    oldest_version: int
    success_rate: float
    """Share of its rollouts that are correct."""
    reward_std: float
    num_rollouts: int
    published_order: int
    """Grows with each group published in the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which finished groups make the batch. One in neither list is held for a later batch."""

    batch: tuple[str, ...]
    """Ids of the groups to train, in order."""
    surplus: tuple[str, ...] = ()
    """Ids of the groups to discard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What a run has seen since its rule was last asked to adapt: once per step, or earlier if it adapts so."""

    step: int
    """Training steps applied; the same again where it adapts early."""
    epoch: int
    """Visits that every claimable prompt has had at least."""
    prior: Prior = field(default_factory=Prior)
    """Beta prior fitted to the pilots of first visits."""
    visits: Mapping[Verdict, int] = field(default_factory=dict)
    """Visits that ended, by verdict; prompts passed over by their history are not among them."""
    num_rollouts: int = 0
    """Pilots and commits that came back, whatever became of them."""
    num_tokens: int = 0
    """Tokens they have."""
    num_grouped: int = 0
    """Rollouts in the groups published; `visits` has the number of groups."""
    num_mixed: int = 0
    """Rollouts in those of them whose rewards differ."""
    signal: float = 0.0
    """Sum over the groups published of rollouts x variance of their rewards: what the spend has bought."""


class Allocator(Protocol):
    """A rule that decides who gets pilots and commits: a pure, frozen value.

    `scheduler.core.allocators.rule.Rule` answers everything but `name`, `largest_group` and `decide` as most rules do.
    """

    @property
    def name(self) -> str:
        """The word a run is created with."""
        ...

    @property
    def largest_group(self) -> int:
        """The most rollouts a visit may ask for, pilots included: what a claim reserves."""
        ...

    @property
    def round_batches(self) -> int | None:
        """Prompts claimed together, in batches: every batch begins with such a round, and waits for the last of it.

        None: as many as are needed, whenever they are.
        """
        ...

    @property
    def discards_surplus(self) -> bool:
        """Whether a finished group that finds no slot is discarded; else it waits for one."""
        ...

    @property
    def adapts_early(self) -> bool:
        """Whether it is to adapt before the next step too where that takes many visits to come.

        For a rule that can be wrong in a way that keeps steps from coming: it would never hear of it.
        """
        ...

    @property
    def foresees(self) -> bool:
        """Whether it wants the priors of prompts forecast from their wording (`scheduler.core.forecast`)."""
        ...

    def rank(self, candidates: Sequence[Candidate], demand: Demand, rng: np.random.Generator) -> Ranking:
        """Order a bounded sample of claimable prompts and claim at most `demand.prompts` of them."""
        ...

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """What to do next with a claimed prompt, given all usable rollouts of this visit so far.

        Asked with () when the visit opens, and again whenever what was asked for has come back, so the answer must
        depend on the arguments alone: a successor that resumes a half-done visit asks again.
        """
        ...

    def select(self, ready: Sequence[ReadyGroup], held: Sequence[ReadyGroup], need: int) -> Selection:
        """Choose a batch of at most `need` groups from those newly finished and those held from earlier selections."""
        ...

    def adapted(self, experience: Experience) -> "Allocator":
        """The rule after a training step; itself if it does not adapt.

        A scheduler that starts again begins with the rule as it was built: what has to outlive it belongs in evidence.
        """
        ...
