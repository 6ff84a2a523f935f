"""A learner that computes nothing: it takes batches as they come and reports them applied.

Owns: the protocol, as a real learner follows it. Invariant: a step is reported once its batch is there, so that what is
measured is never limited by it.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from scheduler.frames import BatchFrame, FinalFrame
from scheduler.learner_link import LearnerLink

_INCARNATION = "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What became of a run."""

    steps: int
    seconds: float
    """From the first frame to the report of the last step."""


async def train(url: str, run_id: str, weights: Path, *, step_s: float = 0.0) -> Trained:
    """Take part in a run until its end, reporting no step sooner than `step_s` seconds after the one before.

    Consumes: batches. Produces: reports. Waits for: either side. Unblocked by: the run's final frame.
    """
    step, began, seconds, due = 0, 0.0, 0.0, 0.0
    async with LearnerLink(url, run_id) as link:
        await link.attach(incarnation=_INCARNATION, step=0, trained={})
        await link.publish(incarnation=_INCARNATION, step=0, path=str(weights), manifest_digest="step-0")
        async for frame in link.stream(incarnation=_INCARNATION):
            began = began or time.perf_counter()
            match frame:
                case BatchFrame() if frame.step > step:
                    step = frame.step
                    await asyncio.sleep(due - time.perf_counter())
                    due = max(due, time.perf_counter()) + step_s
                    await link.applied(
                        incarnation=_INCARNATION,
                        step=step,
                        group_ids=frame.group_ids,
                        refused={},
                        path=str(weights),
                        manifest_digest=f"step-{step}",
                        stats={},
                    )
                    seconds = time.perf_counter() - began
                    await link.checkpointed(incarnation=_INCARNATION, step=step)
                case FinalFrame():
                    break
    return Trained(steps=step, seconds=seconds)
