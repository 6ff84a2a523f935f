"""What learners send.

Owns: the request models of reports and of broadcasts.
"""

from typing import Annotated, Literal

from pydantic import Field

from scheduler.api.request import MOST, Request, Text, example
from scheduler.core.broadcast import BroadcastBackend, BroadcastOffer, Rendezvous, TensorSpec
from scheduler.frames import FORMAT


class Attach(Request):
    """A learner incarnation takes a run."""

    model_config = example(incarnation="3f2a", step=10, trained={"10": ["v-6b0d", "v-91c4"]})

    incarnation: Text = Field(min_length=1, examples=["3f2a"])
    """Made up anew by every learner process."""
    step: int = Field(ge=0)
    """The step it resumed from; 0 for a fresh start."""
    trained: dict[int, tuple[Text, ...]] = Field({})
    """Groups its checkpoint holds, by step, as far as the scheduler has not acknowledged them."""
    formats: tuple[int, ...] = Field((FORMAT,))
    """Formats of frames that it reads; the scheduler writes one, and refuses a learner that cannot read it."""


class PublishWeights(Request):
    """Initial or restored weights."""

    model_config = example(incarnation="3f2a", step=0, path="/runs/run-1/weights/step-0", digest="5e88")

    incarnation: Text
    step: int = Field(ge=0)
    path: Text
    """Folder of the checkpoint as the learner sees it, readable by scheduler and servers, there or where they are told
    to look."""
    digest: Text
    """Digest of its manifest."""


class Applied(PublishWeights):
    """The learner has stepped on a batch; its new weights come with it."""

    model_config = example(
        incarnation="3f2a",
        step=11,
        path="/runs/run-1/weights/step-11",
        digest="9c1d",
        group_ids=["v-6b0d", "v-91c4"],
        stats={"loss": 0.012, "grad_norm": 0.8},
    )

    step: int = Field(ge=1)
    group_ids: tuple[Text, ...]
    """Groups it trained on."""
    refused: dict[Text, int] = Field({})
    """Groups it refused as too stale, with their staleness."""
    stats: dict[Text, float | None] = Field({})
    """What it measured, by name; null is not a finite number."""


class Checkpointed(Request):
    """The learner has saved a step."""

    model_config = example(incarnation="3f2a", step=10)

    incarnation: Text
    step: int = Field(ge=0)


class Tensor(Request):
    """One tensor of a bucket."""

    name: Text = Field(min_length=1)
    """As in the checkpoint."""
    dtype: Literal["float32", "bfloat16", "float16"]
    shape: tuple[Annotated[int, Field(ge=0, le=MOST)], ...]


class OfferBroadcast(Request):
    """How a learner's weights are cut for a broadcast."""

    model_config = example(
        incarnation="3f2a",
        backend="gloo",
        buckets=[[{"name": "model.norm.weight", "dtype": "float32", "shape": [64]}]],
    )

    incarnation: Text
    backend: BroadcastBackend
    buckets: tuple[Annotated[tuple[Tensor, ...], Field(min_length=1)], ...] = Field(min_length=1)
    """Messages in the order in which they are sent, each with its tensors back to back."""

    def offer(self) -> BroadcastOffer:
        """The offer as the core knows it."""
        buckets = tuple(tuple(TensorSpec(**tensor.model_dump()) for tensor in bucket) for bucket in self.buckets)
        return BroadcastOffer(backend=self.backend, buckets=buckets)


class AskOrder(Request):
    """A learner that listens asks what to broadcast."""

    model_config = example(incarnation="3f2a", address="10.0.0.5", port=29600)

    incarnation: Text
    address: Text = Field(min_length=1)
    """Where servers, and the scheduler, reach it."""
    port: int = Field(ge=1, le=65535)

    def rendezvous(self) -> Rendezvous:
        """The place as the core knows it."""
        return Rendezvous(address=self.address, port=self.port)


class AskRound(Request):
    """A learner in a round asks whether it is over."""

    model_config = example(incarnation="3f2a")

    incarnation: Text
