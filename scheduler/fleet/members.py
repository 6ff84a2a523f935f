"""The servers of a fleet as they come and go, and the loops that look after each.

Owns: who is a member, and one task per member for every loop that attends to all of them. Never calls a server.
Invariant: a server that is dismissed has no task left when `dismiss` returns.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable

from scheduler.fleet.server import Server


class Members:
    """Who is of the fleet."""

    def __init__(self, servers: Iterable[Server]) -> None:
        self.servers = list(servers)
        """In the order in which they came; changed in place."""
        self._loops: dict[Server, set[asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()

    def admit(self, server: Server) -> None:
        """One more server."""
        self.servers.append(server)
        self._changed.set()
        self._changed = asyncio.Event()

    async def dismiss(self, server: Server) -> None:
        """One server fewer: its loops are cancelled and have ended. One of them may be the caller."""
        self.servers.remove(server)
        loops = self._loops.pop(server, set()) - {asyncio.current_task()}
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    async def attend(self, look_after: Callable[[Server], Coroutine[None, None, None]], *, name: str) -> None:
        """Run a loop for every member.

        Consumes: members as they come. Produces: a task for each, until it is dismissed. Waits for: one to come.
        Raises what a loop raises, which ends all of them.
        """
        attended: set[Server] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                changed = self._changed
                for server in [server for server in self.servers if server not in attended]:
                    loop = tasks.create_task(look_after(server), name=f"{name}-{server.url}")
                    self._loops.setdefault(server, set()).add(loop)
                    loop.add_done_callback(self._loops[server].discard)
                attended = set(self.servers)
                await changed.wait()
