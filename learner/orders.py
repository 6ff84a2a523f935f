"""What rank 0 tells the other ranks to do, so that all go through the same work in the same order.

Owns: the orders, both ends of their wire (msgpack), giving them and following them. Never does the work. Invariant: an
order is given before its work begins on rank 0; after a piece of work that failed no order is given, as the others may
still be in it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from learner.ranks import Ranks
from scheduler.core.packed import numbers_of, pack
from scheduler.core.types import Group


class Step(msgspec.Struct, frozen=True, tag=True):
    """Train on a batch."""

    groups: tuple[Group, ...]
    temperature: float


class Publish(msgspec.Struct, frozen=True, tag=True):
    """Give rank 0 the weights, which it publishes."""


class Save(msgspec.Struct, frozen=True, tag=True):
    """Write this rank's part of a checkpoint."""


class Wait(msgspec.Struct, frozen=True, tag=True):
    """Nothing to do: says only that rank 0 is alive."""


class Leave(msgspec.Struct, frozen=True, tag=True):
    """The session is over."""


Order = Step | Publish | Save | Wait | Leave

_DECODER: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order, dec_hook=numbers_of)


class Lead:
    """Rank 0's word. Alone there is nobody to tell, and it says nothing."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._is_in_step = True

    @contextmanager
    def giving(self, order: Order) -> Iterator[None]:
        """Have the others do what the block does here. Raises LearnerError where torch cannot go on with them."""
        if self._ranks.size == 1:
            yield
            return
        self._is_in_step = False
        with self._ranks.together(type(order).__name__.lower()):
            self._ranks.told(pack(order))
            yield
        self._is_in_step = True

    def dismiss(self) -> None:
        """Let the others leave; after work that failed they are left to find out by themselves."""
        if self._is_in_step:
            with self.giving(Leave()):
                pass
        self._is_in_step = False


def follow(ranks: Ranks, work: Callable[[Order], None]) -> None:
    """Do what rank 0 orders, until it says to leave.

    Consumes: orders. Produces: this rank's part of the work. Waits for: rank 0, which speaks at least every third part
    of the ranks' timeout. Unblocked by: an order, or the loss of rank 0, which raises LearnerError.
    """
    while True:
        with ranks.together("hear from rank 0"):
            order = _DECODER.decode(ranks.told())
        if isinstance(order, Leave):
            return
        with ranks.together(type(order).__name__.lower()):
            work(order)
