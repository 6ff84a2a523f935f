"""The fake server's part in a broadcast: the calls that join, take and leave.

Owns: what each call answers. Never knows HTTP. Invariant: a call that waits for a learner keeps the server from
everything that would wait for the same lock on the real one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inference.fake.server import FakeServer, Updated
from inference.fake.weight_groups import WeightGroups
from scheduler.core.broadcast import Bucket

NO_SESSION = "update_weights_from_distributed must run between begin_weight_update() and end_weight_update()"
_OPEN = "a weight-update session is already open; call end_weight_update() first"
_NOT_OPEN = "no weight-update session is open; call begin_weight_update() first"
_CLOSED = "Connection closed by peer. This is typically caused by a remote worker crashing."


async def init(server: FakeServer, *, address: str, port: int, world_size: int, name: str) -> Updated:
    """Join; waits for a learner that listens, without end, and then for everybody else."""
    groups = await _free(server)
    async with _waiting(groups):
        return await _join(server, address=address, port=port, world_size=world_size, name=name)


async def _join(server: FakeServer, *, address: str, port: int, world_size: int, name: str) -> Updated:
    groups = server.weight_groups
    await server.until(lambda: groups.find(address, port, name, world_size) is not None)
    group = groups.find(address, port, name, world_size)
    assert group is not None
    groups.enter(name, group)
    await server.until(lambda: group.closed or group.joined >= world_size)
    if group.joined < world_size:
        del groups.groups[name]
        return Updated(success=False, message="Failed to initialize custom process group: Failed to recv, got 0 bytes.")
    return Updated(success=True, message="Succeeded to initialize custom process group.")


async def destroy(server: FakeServer, name: str) -> Updated:
    """Leave."""
    groups = await _free(server)
    if groups.groups.pop(name, None) is None:
        return Updated(success=False, message="The group to be destroyed does not exist.")
    return Updated(success=True, message="Succeeded to destroy custom process group.")


async def begin(server: FakeServer) -> Updated:
    """Open the session."""
    groups = await _free(server)
    if groups.session is not None:
        return Updated(success=False, message=_OPEN)
    groups.session = []
    return Updated(success=True, message="Success")


async def end(server: FakeServer) -> Updated:
    """Close the session."""
    groups = await _free(server)
    if groups.session is None:
        return Updated(success=False, message=_NOT_OPEN)
    groups.session = None
    return Updated(success=True, message="Success")


async def receive(server: FakeServer, *, name: str, bucket: Bucket, label: str | None, flush: bool) -> Updated:
    """Take one bucket; from the first one on the weights are neither the old nor, before the last, the new ones."""
    groups = await _free(server)
    if groups.session is None:
        return Updated(success=False, message=NO_SESSION)
    async with server.updating(), _waiting(groups):
        if name not in groups.groups:
            known = f"Group {name} not in {list(groups.groups)}. Please call `init_weights_update_group` first."
            return Updated(success=False, message=f"Failed to receive weights: {known}")
        group = groups.groups[name]
        await server.until(lambda: groups.has_next(name) or group.closed)
        if not groups.has_next(name):
            return Updated(success=False, message=f"Failed to receive weights: {_CLOSED}")
        taken = groups.take(name, bucket)
        return server.replace_weights(
            server.config.received(b"".join(content for _, content in taken)),
            label,
            message="Succeeded to update parameter online.",
            flush=flush,
        )


async def _free(server: FakeServer) -> WeightGroups:
    """Its groups, once it does not wait in one: until then it answers nothing of the kind."""
    groups = server.weight_groups
    await server.until(lambda: not groups.waiting)
    return groups


@asynccontextmanager
async def _waiting(groups: WeightGroups) -> AsyncIterator[None]:
    groups.waiting = True
    try:
        yield
    finally:
        groups.waiting = False
        groups.air.tell()
