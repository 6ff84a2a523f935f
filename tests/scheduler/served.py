"""An application behind a real socket, for what has to be reached over HTTP: streams, and clients that block.

Owns: the server's start and stop. Invariant: nothing of it is left when the block ends.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import uvicorn
from fastapi import FastAPI

from scheduler.api.app import create_app
from scheduler.service import Service


def served(service: Service) -> AbstractAsyncContextManager[str]:
    """The URL of the service's application while the block lasts."""
    return listening(create_app(service))


@asynccontextmanager
async def listening(application: FastAPI) -> AsyncIterator[str]:
    """The URL of an application while the block lasts."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        # The server has no event for it.
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()
