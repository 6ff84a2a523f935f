"""A report reaches the scheduler however often it has to be made, and a stream ends only with its last word."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import httpx
import pytest

from scheduler.core.errors import Conflict, InvalidInput, NotAtWork, ServerUnavailable, StaleIncarnation, StreamEnded
from scheduler.frames import FORMAT, BatchFrame, FinalFrame, Frame, GroupFrame, HeartbeatFrame, encode
from scheduler.learner_link import LearnerLink
from tests.factories import make_group

ATTACHED = {
    "run_id": "run",
    "version": 3,
    "batch_size": 8,
    "max_staleness": 1,
    "max_steps": None,
    "temperature": 1.0,
    "heartbeat_s": 5.0,
    "format": FORMAT,
    "later": "fields are ignored",
}
BATCH: tuple[Frame, ...] = (
    GroupFrame(step=1, group=make_group(group_id="g")),
    BatchFrame(step=1, group_ids=("g",), policy_version=1),
)
END = FinalFrame(state="finished", reason="1 step done")
Reply = httpx.Response | httpx.TransportError


def _problem(status: int, kind: str) -> httpx.Response:
    document = {"type": f"urn:pilotcommit:{kind}", "title": kind, "status": status, "detail": f"{kind} says the test"}
    return httpx.Response(status, json=document)


class _Body(httpx.AsyncByteStream):
    """A response that is cut into small pieces, and then ends or breaks off."""

    def __init__(self, frames: Sequence[Frame], *, breaks: bool) -> None:
        self._frames = frames
        self._breaks = breaks
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        data = b"".join(encode(frame) for frame in self._frames)
        for start in range(0, len(data), 5):
            yield data[start : start + 5]
        if self._breaks:
            # In the middle of the next frame.
            yield encode(END)[:3]
            raise httpx.ReadError("connection reset")


def _stream(*frames: Frame, breaks: bool = False) -> httpx.Response:
    return httpx.Response(200, stream=_Body(frames, breaks=breaks))


@dataclass
class Network:
    """A scheduler's answers in order, transport faults among them, and what it was asked."""

    replies: list[Reply]
    asked: list[httpx.Request] = field(default_factory=list)

    def link(self, *, patience_s: float = 30.0) -> LearnerLink:
        """A link over it."""
        transport = httpx.MockTransport(self._answer)
        return LearnerLink("http://scheduler", "run", patience_s=patience_s, transport=transport)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        # The last one stays, for a link that keeps asking.
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, httpx.TransportError):
            raise reply
        return reply


async def _report(link: LearnerLink) -> int:
    return await link.applied(
        incarnation="one",
        step=1,
        group_ids=["g"],
        refused={"h": 4},
        path="/weights/2",
        manifest_digest="d",
        stats={"loss": 0.5, "grad_norm": float("nan")},
    )


def _version(number: int, state: str = "announced") -> dict[str, object]:
    return {"version": number, "state": state, "path": f"/weights/{number}", "step": 1}


async def test_attaching_waits_for_the_run_to_be_at_work() -> None:
    network = Network([_problem(409, "NotAtWork"), httpx.ConnectError("refused"), httpx.Response(200, json=ATTACHED)])
    async with network.link() as link:
        attached = await link.attach(incarnation="one", step=2, trained={1: ["a"], 2: ["b", "c"]})
    assert (attached.version, attached.max_staleness, attached.max_steps) == (3, 1, None)
    assert len(network.asked) == 3
    body = json.loads(network.asked[-1].content)
    trained = {"1": ["a"], "2": ["b", "c"]}
    assert body == {"incarnation": "one", "step": 2, "trained": trained, "formats": [FORMAT]}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"format": FORMAT + 1}, f"writes frame format {FORMAT + 1}; this reader knows {FORMAT}: upgrade the learner"),
        ({"format": FORMAT - 1}, "upgrade the scheduler"),
        ({}, "upgrade the scheduler"),
    ],
    ids=["newer", "older", "unsaid"],
)
async def test_a_scheduler_that_writes_another_format_is_refused_before_its_stream(
    said: dict[str, int], words: str
) -> None:
    answer = {name: value for name, value in ATTACHED.items() if name != "format"} | said
    network = Network([httpx.Response(200, json=answer)])
    async with network.link() as link:
        with pytest.raises(InvalidInput, match=words) as refused:
            await link.attach(incarnation="one", step=0, trained={})
    assert (refused.value.field, len(network.asked)) == ("format", 1)


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("silent"),
        httpx.RemoteProtocolError("closed"),
        _problem(503, "FenceLost"),
        _problem(500, "Internal"),
        httpx.Response(502, text="no upstream"),
    ],
    ids=lambda fault: type(fault).__name__ if isinstance(fault, Exception) else str(fault.status_code),
)
async def test_a_report_is_made_again_until_it_is_answered(fault: Reply) -> None:
    network = Network([fault, httpx.Response(202, json=_version(2))])
    async with network.link() as link:
        assert await _report(link) == 2
    first, second = network.asked
    assert first.content == second.content
    assert second.url.path == "/v1/runs/run/applied"


async def test_a_number_that_is_not_finite_is_reported_as_null() -> None:
    network = Network([httpx.Response(202, json=_version(2))])
    async with network.link() as link:
        await _report(link)
    assert json.loads(network.asked[0].content)["stats"] == {"loss": 0.5, "grad_norm": None}


@pytest.mark.parametrize("kind", [StaleIncarnation, Conflict])
async def test_a_refusal_is_final(kind: type[Exception]) -> None:
    network = Network([_problem(409, kind.__name__)])
    async with network.link() as link:
        with pytest.raises(kind, match="says the test"):
            await _report(link)
    assert len(network.asked) == 1


@pytest.mark.parametrize(("reply", "kind"), [(httpx.ConnectError("no"), ServerUnavailable), (None, NotAtWork)])
async def test_patience_ends(reply: Reply | None, kind: type[Exception]) -> None:
    network = Network([reply or _problem(409, "NotAtWork")])
    async with network.link(patience_s=0.0) as link:
        with pytest.raises(kind):
            await link.checkpointed(incarnation="one", step=1)


async def test_a_queued_run_is_waited_for_beyond_all_patience_and_an_absent_scheduler_is_not() -> None:
    queued = [_problem(409, "NotAtWork"), _problem(409, "NotAtWork")]
    network = Network([*queued, httpx.Response(200, json=ATTACHED)])
    async with network.link(patience_s=0.0) as link:
        await link.attach(incarnation="one", step=0, trained={})
    assert len(network.asked) == 3
    network = Network([queued[0], httpx.ConnectError("refused")])
    async with network.link(patience_s=0.0) as link:
        with pytest.raises(ServerUnavailable, match="refused"):
            await link.attach(incarnation="one", step=0, trained={})


async def test_publishing_names_the_folder_and_its_digest() -> None:
    network = Network([httpx.Response(202, json=_version(1))])
    async with network.link() as link:
        assert await link.publish(incarnation="one", step=0, path="/weights/1", manifest_digest="d") == 1
    assert json.loads(network.asked[0].content)["digest"] == "d"


async def test_weights_are_in_use_until_another_version_took_their_place() -> None:
    states = ["announced", "pushing", "live", "superseded"]
    versions = [_version(number, state) for number, state in enumerate(states, start=1)]
    network = Network([httpx.Response(200, json={"weights": versions})])
    async with network.link() as link:
        assert await link.weights_in_use() == {"/weights/1", "/weights/2", "/weights/3"}


async def _frames(link: LearnerLink) -> list[Frame]:
    return [frame async for frame in link.stream(incarnation="one")]


async def test_a_stream_ends_with_its_final_frame() -> None:
    network = Network([_stream(HeartbeatFrame(waiting_for="groups"), *BATCH, END, HeartbeatFrame(waiting_for=""))])
    async with network.link() as link:
        assert await _frames(link) == [HeartbeatFrame(waiting_for="groups"), *BATCH, END]
    assert network.asked[0].url.params["incarnation"] == "one"


@pytest.mark.parametrize(
    "interruption",
    [
        lambda: _stream(*BATCH, breaks=True),
        lambda: _stream(*BATCH),
        lambda: httpx.ReadTimeout("four heartbeats of silence"),
        lambda: _problem(409, "NotAtWork"),
        lambda: _problem(503, "ServerUnavailable"),
    ],
    ids=["broken off", "closed", "silent", "not at work", "unavailable"],
)
async def test_a_stream_goes_on_after_an_interruption(interruption: Callable[[], Reply]) -> None:
    network = Network([interruption(), _stream(*BATCH, END)])
    async with network.link() as link:
        frames = await _frames(link)
    assert frames[-3:] == [*BATCH, END]
    assert len(network.asked) == 2


async def test_a_reader_that_stops_closes_the_connection() -> None:
    body = _Body((*BATCH, END), breaks=False)
    async with Network([httpx.Response(200, stream=body)]).link() as link:
        async with aclosing(link.stream(incarnation="one")) as frames:
            assert await anext(frames) == BATCH[0]
            assert not body.closed
        assert body.closed


async def test_a_stream_that_another_learner_took_over_is_not_opened_again() -> None:
    network = Network([_stream(*BATCH, breaks=True), _problem(409, "StaleIncarnation")])
    async with network.link() as link:
        with pytest.raises(StaleIncarnation):
            await _frames(link)


async def test_a_stream_that_stays_silent_ends_when_patience_does() -> None:
    network = Network([httpx.ConnectError("refused")])
    async with network.link(patience_s=0.0) as link:
        with pytest.raises(StreamEnded, match="refused"):
            await _frames(link)
