"""The scheduler as a learner sees it.

Owns: the calls a learner incarnation makes and what they promise. Never implements them: `scheduler.learner_link` does,
over HTTP. Invariant: every call may be repeated safely, so that retries and reconnects stay inside the link.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scheduler.frames import Frame


class Attachment(Protocol):
    """What the scheduler tells a learner that attaches."""

    @property
    def max_staleness(self) -> int:
        """Versions a group may lag behind when it is trained."""

    @property
    def temperature(self) -> float:
        """Of sampling: behaviour log-probs are at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a run goes, as far as a learner shows it."""

    numbers: Mapping[str, float]
    """What the run has spent and skipped by now, by name."""
    accuracies: Mapping[int, float]
    """Of the evaluations that are done, by the step whose weights they measured."""


class LearnerCalls(Protocol):
    """The learner's calls. Those that name an incarnation raise StaleIncarnation when another has taken the run."""

    async def attach(self, *, incarnation: str, step: int, trained: Mapping[int, Sequence[str]]) -> Attachment:
        """Take the run's groups from here on, having resumed from `step`."""

    async def publish(self, *, incarnation: str, step: int, path: str, manifest_digest: str) -> int:
        """Announce initial or restored weights; returns their version."""

    def stream(self, *, incarnation: str) -> AsyncIterator[Frame]:
        """The group stream; after a reconnect frames may come again."""

    async def applied(
        self,
        *,
        incarnation: str,
        step: int,
        group_ids: Sequence[str],
        refused: Mapping[str, int],
        path: str,
        manifest_digest: str,
        stats: Mapping[str, float],
    ) -> int:
        """Report a step and announce its weights; returns their version."""

    async def checkpointed(self, *, incarnation: str, step: int) -> None:
        """Report that everything applied up to `step` is saved."""

    async def weights_in_use(self) -> Collection[str]:
        """Paths of weights that servers may still be loading."""

    async def course(self) -> Course:
        """How the run goes, for a learner that shows it. Not asked again: raises ServerUnavailable at once."""
