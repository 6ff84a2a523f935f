"""Servers in a broadcast, as far as a learner meets them: they join with torch's own calls and take buckets."""

import threading
from collections.abc import Sequence
from datetime import timedelta

import torch
from torch._C._distributed_c10d import BroadcastOptions, PrefixStore, ProcessGroupGloo, Store, TCPStore

from scheduler.core.broadcast import BroadcastOrder, Rendezvous

_LONG = timedelta(seconds=1800)
"""A server's own deadline: what frees it earlier is the learner."""


class Peer:
    """One rank of a server; `taken` are the buckets it got, `failure` is what went wrong."""

    def __init__(self, rendezvous: Rendezvous, order: BroadcastOrder, *, rank: int, sizes: Sequence[int]) -> None:
        self.taken: list[bytes] = []
        self.failure = ""
        self._arrived = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(rendezvous, order, rank, sizes), daemon=True)
        self._thread.start()

    def _run(self, rendezvous: Rendezvous, order: BroadcastOrder, rank: int, sizes: Sequence[int]) -> None:
        try:
            store: Store = TCPStore(rendezvous.address, rendezvous.port, order.world_size, False, _LONG)
            for prefix in (order.group, f"{order.group}/", "cpu/"):
                store = PrefixStore(prefix, store)
            group = ProcessGroupGloo(store, rank, order.world_size, _LONG)
            for size in sizes:
                content = torch.empty(size, dtype=torch.uint8)
                options = BroadcastOptions()
                options.rootRank, options.rootTensor = 0, 0
                group.broadcast([content], options).wait(_LONG)  # type: ignore[attr-defined]  # not in torch's stubs
                self.taken.append(content.numpy().tobytes())
                self._arrived.release()
        except RuntimeError as error:
            self.failure = str(error)

    def took(self, count: int) -> bool:
        """Whether so many buckets more arrive, each within twenty seconds."""
        return all(self._arrived.acquire(timeout=20) for _ in range(count))

    def ended(self) -> bool:
        """Whether it waits no more, within twenty seconds."""
        self._thread.join(20)
        return not self._thread.is_alive()
