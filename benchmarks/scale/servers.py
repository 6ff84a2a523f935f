"""Servers by the hundred in one process, under a virtual clock.

Owns: how long an answer takes, and how many are made at a time. Everything but /generate is the fake SGLang's.
Invariant: a server with all slots taken keeps further requests waiting, as a real one does.
"""

import asyncio
import random
from dataclasses import dataclass, field

import httpx
import msgspec

from inference.fake import FakeConfig, FakeServer, create_fake
from inference.launch import UNCONFIRMED

SLOTS = 20
LATENCY_S = 60.0
NUM_TOKENS = 8


class _Asked(msgspec.Struct, frozen=True):
    rid: str
    input_ids: tuple[int, ...]
    sampling_params: dict[str, object]


@dataclass(slots=True)
class Busy:
    """Slot-seconds in use, over all servers."""

    loop: asyncio.AbstractEventLoop
    running: int = 0
    slot_s: float = 0.0
    since: float = 0.0
    answers: int = 0

    def change(self, by: int) -> None:
        """So many more slots are in use from now on."""
        now = self.loop.time()
        self.slot_s += self.running * (now - self.since)
        self.running, self.since = self.running + by, now


@dataclass(slots=True)
class ScaledServer(httpx.AsyncBaseTransport):
    """One server, as its client reaches it."""

    busy: Busy
    chance: random.Random
    fake: FakeServer = field(init=False)
    _rest: httpx.ASGITransport = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        config = FakeConfig(weight_version=UNCONFIRMED, checkpoints=lambda path: path, has_checksums=False)
        self.fake = FakeServer(config)
        self._rest = httpx.ASGITransport(create_fake(self.fake))
        self._slots = asyncio.Semaphore(SLOTS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer when the virtual clock says so."""
        if request.url.path != "/generate":
            return await self._rest.handle_async_request(request)
        asked = msgspec.json.decode(await request.aread(), type=_Asked)
        wanted = asked.sampling_params["max_new_tokens"]
        assert isinstance(wanted, int)
        async with self._slots:
            label = self.fake.weight_version
            self.busy.change(+1)
            try:
                await asyncio.sleep(LATENCY_S * self.chance.uniform(0.5, 1.5) if wanted > 1 else 0.0)
            finally:
                self.busy.change(-1)
        self.busy.answers += 1
        return httpx.Response(200, content=_completion(asked, min(wanted, NUM_TOKENS), label, self.chance))


def _completion(asked: _Asked, length: int, label: str, chance: random.Random) -> bytes:
    ids = [5] * length
    return msgspec.json.encode(
        {
            "text": "7" if chance.random() < 0.5 else "8",
            "output_ids": ids,
            "meta_info": {
                "id": asked.rid,
                "finish_reason": {"type": "stop", "matched": 1},
                "prompt_tokens": len(asked.input_ids),
                "completion_tokens": length,
                "weight_version": label,
                "weight_versions": [{"version": label, "start": 0, "end": length}],
                "output_token_logprobs": [(-0.5, token, None) for token in ids],
            },
        }
    )
