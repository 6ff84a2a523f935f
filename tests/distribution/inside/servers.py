"""Fake SGLang servers out of the installation: `servers.py MODEL PORT...`, one for each port, until it is ended.

Their model answers a prompt with 7 or with 8, a coin's throw for each seed.
"""

import asyncio
import random
import sys

import uvicorn

from inference.fake import Answer, Ask, BigramPolicy, FakeConfig, FakeServer, create_fake

_SEVEN, _EIGHT = 11, 12
"""Their ids in the tokenizer of the tests' model."""


class Coin(BigramPolicy):
    """One character for an answer."""

    def answer(self, ask: Ask) -> Answer:
        """As likely right as wrong, where 7 is right."""
        token = random.Random(repr((ask.seed, ask.input_ids))).choice((_SEVEN, _EIGHT))
        return Answer(token_ids=(token,), logprobs=(-0.6931,), text="7" if token == _SEVEN else "8")


async def main(model: str, ports: list[int]) -> None:
    """Serve until killed."""
    fakes = (FakeServer(FakeConfig(model_path=model), policy=Coin()) for _ in ports)
    servers = [
        uvicorn.Server(uvicorn.Config(create_fake(fake), port=port, lifespan="off", log_level="warning"))
        for fake, port in zip(fakes, ports, strict=True)
    ]
    await asyncio.gather(*(server.serve() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(port) for port in sys.argv[2:]]))
