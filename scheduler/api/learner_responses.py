"""What the API answers to learners.

Owns: the response models of attaching, of weight versions and of broadcasts. Never computes.
"""

from typing import Self

from scheduler.api.response import Response
from scheduler.state.versions import WeightRecord


class Attachment(Response):
    """What a learner needs to know."""

    run_id: str
    version: int
    batch_size: int
    max_staleness: int
    max_steps: int | None
    temperature: float
    """Of sampling: behaviour log-probs are at it."""
    heartbeat_s: float
    """Longest silence on the group stream; several of them are a dead scheduler."""
    format: int
    """Of the frames that will be written."""


class Weights(Response):
    """One weight version."""

    version: int
    state: str
    step: int
    path: str
    digest: str
    checksum: str
    announced_at: float
    live_at: float | None
    push_s: float | None
    spent_rollouts: int
    """Pilots and commits of the run that were spent when it was announced."""
    spent_tokens: int
    """Generated tokens of them."""
    verdicts: dict[str, int]
    """Verdicts by then, those that history alone gave included."""
    stats: dict[str, float]
    """What the learner measured in its step, by name; what was not finite is left out."""

    @classmethod
    def of(cls, record: WeightRecord) -> Self:
        """The version's record."""
        return cls(
            version=record.version,
            state=record.state,
            step=record.step,
            path=record.path,
            digest=record.digest,
            checksum=record.checksum,
            announced_at=record.announced_at,
            live_at=record.live_at,
            push_s=record.push_s,
            spent_rollouts=record.spent_rollouts,
            spent_tokens=record.spent_tokens,
            verdicts={verdict.value: count for verdict, count in record.verdicts.items()},
            stats=dict(record.stats),
        )


class WeightVersions(Response):
    """Weight versions, newest first."""

    weights: list[Weights]


class Order(Response):
    """One round of a broadcast."""

    group: str
    """Names the process group, and the round."""
    path: str
    """The published weights to send."""
    world_size: int
    """The learner, which is rank 0, and every rank of every server in the round."""
    join_s: float
    """How long joining may take."""
    step_s: float
    """How long each bucket may take."""


class Orders(Response):
    """What a learner that listens is to do."""

    order: Order | None
    """None where nothing was to be done for a heartbeat."""


class Round(Response):
    """How a round stands."""

    over: bool
