"""`python -m tests.chaos.processes.server PORT MODEL WITNESS`: the fake SGLang as a process, in real time.

Owns: the pace of decoding, and a line in the file WITNESS for every attempt that reaches it. Invariant: it dies where
the real one would, and knows nothing of its earlier lives.
"""

import asyncio
import os
import sys
from pathlib import Path

import uvicorn

from inference.fake import FakeConfig, FakeServer, create_fake
from inference.fake.job import Job, Sampled
from inference.launch import UNCONFIRMED

STEP_S = 0.004
"""Between two decode steps."""
PROBE = "probe-"
"""How the rids of requests begin that are no attempts: the scheduler's own proof that a server generates."""
_DIED = 9


class WitnessedServer(FakeServer):
    """Writes down every attempt before it is made."""

    def __init__(self, config: FakeConfig, witness: Path) -> None:
        super().__init__(config)
        self._witness = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    async def generate(self, request: Sampled) -> Job:
        """As any server, with a witness."""
        # What asks for no token fills the cache; the budget is in tokens generated.
        if request.max_new_tokens and not request.rid.startswith(PROBE):
            os.write(self._witness, f"{request.extra_key} {request.rid}\n".encode())
        return await super().generate(request)


async def _decode(server: FakeServer) -> None:
    """Consumes: requests. Produces: their tokens. Waits for: the next step. Ends the process when the server dies."""
    while not server.dead:
        await server.step()
        await asyncio.sleep(STEP_S)
    os._exit(_DIED)


async def serve(port: int, model: Path, witness: Path) -> None:
    """Serve until killed."""
    server = WitnessedServer(FakeConfig(model_path=str(model), weight_version=UNCONFIRMED), witness)
    server.hold()
    config = uvicorn.Config(
        create_fake(server), port=port, lifespan="off", log_level="warning", access_log=False, timeout_keep_alive=60
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_decode(server), name="decode")
        tasks.create_task(uvicorn.Server(config).serve(), name="serve")


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
