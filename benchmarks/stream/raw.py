"""`python -m benchmarks.stream.raw PORT MEGABYTES CHUNK`: bytes over loopback HTTP, and nothing else.

Owns: an application that streams so many megabytes, in chunks of so many bytes, by the server that the scheduler uses.
"""

import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route


def create_app(total: int, chunk: int) -> Starlette:
    """The application; every answer is the same."""
    block = bytes(chunk)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(total // chunk):
            yield block

    async def stream(_: Request) -> StreamingResponse:
        return StreamingResponse(body())

    return Starlette(routes=[Route("/stream", stream)])


if __name__ == "__main__":
    port, megabytes, size = (int(argument) for argument in sys.argv[1:4])
    uvicorn.run(create_app(megabytes << 20, size), port=port, lifespan="off", log_level="warning", access_log=False)
