"""The process group of one round of a broadcast, as its rank 0.

Owns: the rendezvous store and the group. Never decides when, and asks nobody. Invariant: once it is closed, and no call
of its own is under way, its sockets are closed too, which frees whoever waits for it; so does the death of the process.

The group is made as SGLang 0.5.23 makes its own, but outside torch's registry: one that is registered lives on after an
error, with its sockets.
"""

from collections.abc import Iterable
from datetime import timedelta

import torch
from torch._C._distributed_c10d import (
    Backend,
    PrefixStore,
    ProcessGroup,
    ProcessGroupGloo,
    Store,
    TCPStore,
)

from scheduler.core.broadcast import BroadcastBackend, BroadcastOrder
from scheduler.core.errors import PilotCommitError

_KINDS = {
    BroadcastBackend.GLOO: ProcessGroup.BackendType.GLOO,
    BroadcastBackend.NCCL: ProcessGroup.BackendType.NCCL,
}
_DEVICES = {BroadcastBackend.GLOO: "cpu", BroadcastBackend.NCCL: "cuda"}


class RankZero:
    """Listens from the start; `lead` blocks, and `close` may be called meanwhile."""

    def __init__(self, address: str, port: int, backend: BroadcastBackend) -> None:
        """Port 0 takes a free one. Raises RuntimeError if the port is taken."""
        self._backend = backend
        self._device = _DEVICES[backend]
        self._store: Store | None = None
        self._group: ProcessGroup | None = None
        store = TCPStore(address, port, is_master=True, wait_for_workers=False)
        self._store, self.port = store, store.port

    def lead(self, order: BroadcastOrder, buckets: Iterable[memoryview]) -> str:
        """Have everybody join and broadcast one bucket after the other; what went wrong, or nothing.

        Returned and not raised: the traceback of an exception would hold the sockets that are to be closed.
        """
        try:
            group = self._join(order)
            self._send(group, order, buckets)
        except (PilotCommitError, RuntimeError, OSError) as error:
            return str(error).partition("\n")[0]
        return ""

    def close(self) -> None:
        """Drop the store and the group."""
        self._store = self._group = None

    def _join(self, order: BroadcastOrder) -> ProcessGroup:
        store, deadline = self._store, timedelta(seconds=order.join_s)
        if store is None:
            raise RuntimeError("closed before anybody joined")
        store.set_timeout(deadline)
        # Peers find each other under the name, put once by SGLang and once by torch, and under the device.
        for prefix in (order.group, f"{order.group}/", f"{self._device}/"):
            store = PrefixStore(prefix, store)
        kind = _KINDS[self._backend]
        group = ProcessGroup(store, 0, order.world_size)
        group._set_default_backend(kind)
        group._register_backend(torch.device(self._device), kind, self._connected(store, order.world_size, deadline))
        if self._store is not None:
            # Kept when all is sent: the last bucket may still be on its way.
            self._group = group
        return group

    def _connected(self, store: Store, world_size: int, deadline: timedelta) -> Backend:
        if self._backend is BroadcastBackend.GLOO:
            return ProcessGroupGloo(store, 0, world_size, deadline)
        # Only a torch that was built for GPUs has it.
        from torch._C._distributed_c10d import ProcessGroupNCCL

        options = ProcessGroupNCCL.Options()
        options._timeout = deadline
        return ProcessGroupNCCL(store, 0, world_size, options)

    def _send(self, group: ProcessGroup, order: BroadcastOrder, buckets: Iterable[memoryview]) -> None:
        deadline = timedelta(seconds=order.step_s)
        for content in buckets:
            if self._store is None:
                raise RuntimeError("closed before all was sent")
            bytes_N = torch.frombuffer(content, dtype=torch.uint8).to(self._device)
            group.broadcast(bytes_N, 0, deadline).wait(deadline)
