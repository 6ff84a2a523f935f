"""What scheduler and learner say to each other about a broadcast of weights.

Owns: the values of that dialogue. Never sends anything. Invariant: the tensors of a bucket are sent back to back in the
order named, and both sides cut the bytes by these names, types and shapes alone.
"""

from dataclasses import dataclass
from enum import StrEnum


class BroadcastBackend(StrEnum):
    """What carries the bytes."""

    NCCL = "nccl"
    """Between GPUs."""
    GLOO = "gloo"
    """Between processors, over TCP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One tensor, in the words of a server."""

    name: str
    """As in the checkpoint."""
    dtype: str
    """As in torch: float32, bfloat16."""
    shape: tuple[int, ...]


Bucket = tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastOffer:
    """What a learner can broadcast: every version of its run is cut like this."""

    backend: BroadcastBackend
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendezvous:
    """Where a learner waits for those it broadcasts to."""

    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastOrder:
    """One round of a broadcast: the learner is rank 0 of its group."""

    group: str
    """Names the process group; never used twice."""
    path: str
    """The published weights to send."""
    world_size: int
    """The learner and every rank of every server that takes part."""
    join_s: float
    """How long joining may take."""
    step_s: float
    """How long each bucket may take."""
