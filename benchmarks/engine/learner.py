"""A learner that computes nothing: it takes batches as they come and reports them applied.

Owns: the protocol, as a real learner follows it. Invariant: a step is reported once its batch is there, so that what is
measured is never limited by it.
"""

from pathlib import Path

from scheduler.frames import BatchFrame, FinalFrame
from scheduler.learner_link import LearnerLink

_INCARNATION = "bench"


async def train(url: str, run_id: str, weights: Path) -> int:
    """Take part in a run until its end; returns the steps made.

    Consumes: batches. Produces: reports. Waits for: either side. Unblocked by: the run's final frame.
    """
    step = 0
    async with LearnerLink(url, run_id) as link:
        await link.attach(incarnation=_INCARNATION, step=0, trained={})
        await link.publish(incarnation=_INCARNATION, step=0, path=str(weights), manifest_digest="step-0")
        async for frame in link.stream(incarnation=_INCARNATION):
            match frame:
                case BatchFrame() if frame.step > step:
                    step = frame.step
                    await link.applied(
                        incarnation=_INCARNATION,
                        step=step,
                        group_ids=frame.group_ids,
                        refused={},
                        path=str(weights),
                        manifest_digest=f"step-{step}",
                        stats={},
                    )
                    await link.checkpointed(incarnation=_INCARNATION, step=step)
                case FinalFrame():
                    break
    return step
