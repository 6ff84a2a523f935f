"""What a learner works with, and the three pieces of work that all of its ranks do together.

Owns: the trainer, what writes weights and checkpoints, and telling the other ranks before a piece of work begins. Never
speaks HTTP. Invariant: a rank's part of each piece is done in the order in which rank 0 does its own, or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from learner.checkpoint import CheckpointWriter, Progress, write_own
from learner.fault import Fault
from learner.metrics import LearnerMetrics
from learner.model_files import send_model
from learner.orders import Lead, Order, Publish, Save, Step, Wait, follow
from learner.ranks import Ranks
from learner.sinks.sink import Sinks
from learner.step_report import StepReport
from learner.trainer import Trainer
from learner.weight_publish import PublishedWeights, WeightPublisher
from scheduler.core.errors import LearnerError
from scheduler.core.types import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What a session works with: all of it of a process alone, and of rank 0 where there are several."""

    trainer: Trainer
    publisher: WeightPublisher
    checkpoints: CheckpointWriter
    metrics: LearnerMetrics
    fault: Fault
    lead: Lead
    checkpoint_every: int
    """Steps between checkpoints."""
    last_word_s: float = 30.0
    """How long a refused report waits for the run's end, and a report that the end overtook for its answer."""
    sinks: Sinks = field(default_factory=Sinks)
    """Where a step's numbers go beside Prometheus."""
    beat_s: float | None = None
    """Longest silence of rank 0 towards the others; None where there are none."""

    def step(self, groups: Sequence[Group], *, temperature: float) -> StepReport:
        """Train on one batch."""
        with self.lead.giving(Step(groups=tuple(groups), temperature=temperature)):
            return self.trainer.step(groups, temperature=temperature)

    def publish(self, *, step: int) -> PublishedWeights:
        """Write the weights for servers."""
        with self.lead.giving(Publish()):
            return self.publisher.publish(self.trainer.model, step=step)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint."""
        with self.lead.giving(Save()):
            self.checkpoints.save(self.trainer, progress)

    def beat(self) -> None:
        """Show the other ranks that this one is alive."""
        with self.lead.giving(Wait()):
            pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every other rank works with."""

    trainer: Trainer
    ranks: Ranks
    publish_dtype: torch.dtype

    def follow(self) -> None:
        """Do this rank's part of what rank 0 does, until it leaves. Raises LearnerError when it is lost."""
        follow(self.ranks, self._work)

    def _work(self, order: Order) -> None:
        match order:
            case Step():
                self.trainer.step(order.groups, temperature=order.temperature)
            case Publish():
                send_model(self.trainer.model, dtype=self.publish_dtype)
            case Save():
                write_own(self.trainer, self.ranks)
            case Wait():
                pass
            case _:
                raise LearnerError(f"{order!r} is no piece of work")
