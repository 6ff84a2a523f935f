"""`python -m benchmarks.engine.paced PORT MODEL`: a server that answers as fast as it is told to, and no faster.

Owns: slots, how long each answer takes, and what was served when. Everything but /generate is the fake SGLang's, the
version of its weights included. Invariant: at most `slots` answers are being made at a time, so its capacity is
slots / latency, whoever asks.

It speaks HTTP/1.1 itself, as much of it as our own client uses: a server framework would cost more than what is
measured.
"""

import asyncio
import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import httpx
import msgspec

from inference.fake import FakeConfig, FakeServer, create_fake
from inference.launch import UNCONFIRMED

NUM_TOKENS = 64
"""Of every answer."""
_TOKENS = tuple(random.Random(0).randrange(1, 120) for _ in range(NUM_TOKENS))
_LOGPROBS = msgspec.json.encode([(-0.25, token, None) for token in _TOKENS])
_IDS = msgspec.json.encode(_TOKENS)


class SamplingParams(msgspec.Struct, frozen=True):
    """What is read of how to sample."""

    max_new_tokens: int = 0


class Asked(msgspec.Struct, frozen=True):
    """What is read of a request."""

    rid: str = ""
    input_ids: tuple[int, ...] = ()
    sampling_params: SamplingParams = SamplingParams()
    extra_key: str | None = None


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast to be."""

    slots: int
    latency_s: float
    """Mean; each answer takes from 0.8 to 1.2 of it."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What was served since the last look."""

    seconds: float
    answers: int
    busy_s: float
    """Slot-seconds in use."""
    turnarounds_s: list[float]
    """From the last answer of a volley to the first request that follows it in the same visit, but for those between
    which weights were pushed."""
    pushed: int
    """Those."""
    cpu_s: float


@dataclass(slots=True)
class _Visit:
    open: int = 0
    last_answer: float = 0.0


@dataclass(slots=True)
class Slots:
    """Answers in the making."""

    fake: FakeServer
    pace: Pace = field(default_factory=lambda: Pace(slots=1_000_000, latency_s=0.0))
    running: int = 0
    answers: int = 0
    busy_s: float = 0.0
    since: float = field(default_factory=time.monotonic)
    changed: float = field(default_factory=time.monotonic)
    cpu_s: float = field(default_factory=time.process_time)
    turnarounds_s: list[float] = field(default_factory=list)
    pushed: int = 0
    controlled: float = 0.0
    """When a control call was last under way."""
    visits: dict[str, _Visit] = field(default_factory=dict)
    waiting: "deque[tuple[Connection, Asked]]" = field(default_factory=deque)

    def arrive(self, connection: "Connection", asked: Asked) -> None:
        """A request is here."""
        visit = self.visits.setdefault(asked.rid.partition("-")[0], _Visit())
        if visit.last_answer and not visit.open:
            if self.fake.paused is None and visit.last_answer > self.controlled:
                self.turnarounds_s.append(time.monotonic() - visit.last_answer)
            else:
                self.pushed += 1
            visit.last_answer = 0.0
        visit.open += 1
        self.waiting.append((connection, asked))
        self.fill()

    def fill(self) -> None:
        """Begin what there is room for."""
        while self.waiting and self.running < self.pace.slots and self.fake.paused is None:
            connection, asked = self.waiting.popleft()
            self._note()
            self.running += 1
            delay = self.pace.latency_s * random.uniform(0.8, 1.2) if asked.sampling_params.max_new_tokens else 0.0
            asyncio.get_running_loop().call_later(delay, self._end, connection, asked, self.fake.weight_version)

    def _end(self, connection: "Connection", asked: Asked, label: str) -> None:
        self._note()
        self.running -= 1
        self.answers += 1
        visit = self.visits[asked.rid.partition("-")[0]]
        visit.open -= 1
        if asked.sampling_params.max_new_tokens:
            # What only prefills a prompt is no volley: the decision was made before it.
            visit.last_answer = time.monotonic()
        connection.answer(200, _completion(asked, label))
        self.fill()

    def _note(self) -> None:
        now = time.monotonic()
        self.busy_s += self.running * (now - self.changed)
        self.changed = now

    def look(self) -> Served:
        """What was served since the last look; counting begins anew."""
        self._note()
        now, cpu_s = time.monotonic(), time.process_time()
        served = Served(
            seconds=now - self.since,
            answers=self.answers,
            busy_s=self.busy_s,
            turnarounds_s=self.turnarounds_s,
            pushed=self.pushed,
            cpu_s=cpu_s - self.cpu_s,
        )
        self.since, self.answers, self.busy_s, self.cpu_s = now, 0, 0.0, cpu_s
        self.turnarounds_s, self.pushed = [], 0
        return served


def _completion(asked: Asked, label: str) -> bytes:
    """The 200 of /generate, put together by hand: right or wrong by turns of chance, so that every group is mixed."""
    wanted = asked.sampling_params.max_new_tokens
    text, ids, logprobs, length = (b"7" if random.random() < 0.5 else b"8"), _IDS, _LOGPROBS, NUM_TOKENS
    if wanted < NUM_TOKENS:
        length = wanted
        ids, logprobs = (
            msgspec.json.encode(_TOKENS[:wanted]),
            msgspec.json.encode([(-0.25, t, None) for t in _TOKENS[:wanted]]),
        )
    return b"".join(
        (
            b'{"text":"', text, b'","output_ids":', ids,
            b',"meta_info":{"id":', msgspec.json.encode(asked.rid),
            b',"finish_reason":{"type":"stop","matched":1},"prompt_tokens":', b"%d" % len(asked.input_ids),
            b',"completion_tokens":', b"%d" % length,
            b',"cached_tokens":0,"weight_version":', msgspec.json.encode(label),
            b',"weight_versions":[{"version":', msgspec.json.encode(label), b',"start":0,"end":', b"%d" % length,
            b'}],"output_token_logprobs":', logprobs, b"}}",
        )
    )  # fmt: skip


class Connection(asyncio.Protocol):
    """One connection: a request at a time, with a Content-Length, as our clients send them."""

    def __init__(self, slots: Slots, rest: httpx.AsyncClient) -> None:
        self._slots = slots
        self._rest = rest
        self._received = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own is no subclass of it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, gap, body = self._received.partition(b"\r\n\r\n")
        if not gap:
            return
        line, *headers = bytes(head).split(b"\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (each.partition(b":") for each in headers)}
        length = int(fields.get(b"content-length", b"0"))
        if len(body) < length:
            return
        self._received.clear()
        method, target, _ = line.split(b" ")
        if target == b"/generate":
            self._slots.arrive(self, msgspec.json.decode(body, type=Asked))
        elif target == b"/pace":
            self._paced(method, bytes(body))
        else:
            task = asyncio.ensure_future(self._pass_on(method.decode(), target.decode(), bytes(body), fields))
            task.add_done_callback(lambda done: done.result())

    def _paced(self, method: bytes, body: bytes) -> None:
        if method == b"POST":
            self._slots.pace = msgspec.json.decode(body, type=Pace)
        self.answer(200, msgspec.json.encode(self._slots.look()))

    async def _pass_on(self, method: str, target: str, body: bytes, fields: dict[bytes, bytes]) -> None:
        kind = {"content-type": fields.get(b"content-type", b"").decode()}
        response = await self._rest.request(method, target, content=body, headers=kind)
        if method == "POST":
            self._slots.controlled = time.monotonic()
        self.answer(response.status_code, response.content)
        self._slots.fill()

    def answer(self, status: int, body: bytes) -> None:
        """Send an answer, unless nobody is there any more."""
        if not self._transport.is_closing():
            head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (
                status,
                len(body),
            )
            self._transport.write(head + body)


async def serve(port: int, model: str) -> None:
    """Serve until killed."""
    fake = FakeServer(FakeConfig(model_path=model, weight_version=UNCONFIRMED))
    slots = Slots(fake)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_fake(fake)), base_url="http://fake") as rest:
        server = await asyncio.get_running_loop().create_server(lambda: Connection(slots, rest), "127.0.0.1", port)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
