"""A scheduler that follows a script: the fake at the learner's only outside edge.

It delivers batches one after the other, each once the one before is applied, as the real one does, and keeps every
call.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.core.errors import Conflict, PilotCommitError
from scheduler.core.types import Group
from scheduler.frames import BatchFrame, FinalFrame, Frame, GroupFrame, HeartbeatFrame
from scheduler.learner_calls import Course


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedToScript:
    """What the script says to a learner that attaches."""

    max_staleness: int
    temperature: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One reported step."""

    step: int
    group_ids: tuple[str, ...]
    refused: dict[str, int]
    path: str
    manifest_digest: str
    stats: dict[str, float]


@dataclass
class ScriptedLink:
    """Batches by step (the first is step 1); `failing` maps a call's name to the error it raises."""

    batches: Mapping[int, Sequence[Group]]
    max_staleness: int = 100
    version: int = 0
    repeats: int = 1
    """How often each frame is sent, as after reconnects."""
    ends: bool = True
    """Whether the last batch is followed by the final frame; otherwise the stream only beats."""
    failing: dict[str, PilotCommitError] = field(default_factory=dict)
    cancelled_after: int | None = None
    """The run is cancelled while the learner computes the step after this one."""
    answers_after_the_end: bool = True
    """Whether a cancelled run refuses a report, or lets the learner wait as if it might come back."""
    on_applied: Callable[[int], None] = lambda step: None
    attached: list[tuple[int, dict[int, tuple[str, ...]]]] = field(default_factory=list)
    published: list[tuple[int, str, str]] = field(default_factory=list)
    applied_steps: list[Applied] = field(default_factory=list)
    checkpointed_steps: list[int] = field(default_factory=list)
    in_use: set[str] = field(default_factory=set)
    step: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def attach(self, *, incarnation: str, step: int, trained: Mapping[int, Sequence[str]]) -> AttachedToScript:
        self._fail("attach")
        self.attached.append((step, {key: tuple(value) for key, value in trained.items()}))
        self.step = step
        return AttachedToScript(max_staleness=self.max_staleness)

    async def publish(self, *, incarnation: str, step: int, path: str, manifest_digest: str) -> int:
        self._fail("publish")
        self.published.append((step, path, manifest_digest))
        return self._next_version()

    async def stream(self, *, incarnation: str) -> AsyncIterator[Frame]:
        delivered = self.step
        while True:
            self._fail("stream")
            yield HeartbeatFrame(waiting_for="the script")
            step = self.step + 1
            if self.cancelled_after is not None and self.cancelled_after < delivered:
                yield FinalFrame(state="cancelled", reason="by an operator")
                return
            if step in self.batches and delivered < step:
                for frame in self._frames(step):
                    yield frame
                delivered = step
            elif step not in self.batches and self.ends:
                yield FinalFrame(state="finished", reason="end of the script")
                return
            self.news.clear()
            await self.news.wait()

    def _frames(self, step: int) -> list[Frame]:
        groups = self.batches[step]
        frames: list[Frame] = [GroupFrame(step=step, group=group) for group in groups]
        ids = tuple(group.group_id for group in groups)
        frames.append(BatchFrame(step=step, group_ids=ids, policy_version=self.version))
        return frames * self.repeats

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
        self._fail("applied")
        if self.cancelled_after is not None and step > self.cancelled_after:
            self.news.set()
            if self.answers_after_the_end:
                raise Conflict("the run has ended: it is cancelled")
            await asyncio.Event().wait()
        self.applied_steps.append(
            Applied(
                step=step,
                group_ids=tuple(group_ids),
                refused=dict(refused),
                path=path,
                manifest_digest=manifest_digest,
                stats=dict(stats),
            )
        )
        self.step = step
        self.on_applied(step)
        self.news.set()
        return self._next_version()

    async def checkpointed(self, *, incarnation: str, step: int) -> None:
        self._fail("checkpointed")
        self.checkpointed_steps.append(step)

    async def weights_in_use(self) -> Collection[str]:
        return self.in_use

    async def course(self) -> Course:
        self._fail("course")
        return Course(numbers={"spent_rollouts": 8.0 * self.step}, accuracies={0: 0.25})

    def _next_version(self) -> int:
        self.version += 1
        return self.version

    def _fail(self, call: str) -> None:
        if call in self.failing:
            raise self.failing[call]
