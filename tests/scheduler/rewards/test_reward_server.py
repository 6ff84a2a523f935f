"""A reward server over a real socket: batches, retries, and whatever it may do wrong."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog

from inference.channel import Channel
from scheduler.core.errors import PilotCommitError, RewardFailed, ServerUnavailable
from scheduler.core.types import Judgement
from scheduler.rewards.batching import Terms
from scheduler.rewards.reward_server import Answer, RewardServer
from scheduler.rewards.spec import RewardJob
from tests.events_document import undocumented
from tests.scheduler.rewards.judges import Asked, RewardServerApp, judged, serving

RIGHT, WRONG = Judgement(reward=1.0, correct=True), Judgement(reward=0.0, correct=False)
QUICK = Terms(wait_s=0.01, timeout_s=10, connect_s=5)


def jobs(*texts: str) -> list[RewardJob]:
    return [RewardJob(text=text, answer="7") for text in texts]


def reasons(answers: Sequence[Answer]) -> set[str]:
    return {str(answer) for answer in answers if isinstance(answer, RewardFailed)}


@asynccontextmanager
async def asking(url: str, terms: Terms = QUICK) -> AsyncIterator[RewardServer]:
    channel = Channel(
        url, key="k", max_connections=16, connect_timeout_s=5, no_answer=ServerUnavailable, transport=None
    )

    @asynccontextmanager
    async def connect() -> AsyncIterator[Channel]:
        yield channel

    server = RewardServer(url, connect, terms, retry_s=0.001)
    try:
        yield server
    finally:
        await server.aclose()
        await channel.aclose()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    """Every log line, held against the table of events."""
    with structlog.testing.capture_logs() as lines:
        yield lines
    assert undocumented(lines) == []
    assert "a secret text" not in repr(lines)


async def test_completions_of_many_visits_share_requests_and_answers_keep_their_order() -> None:
    app = RewardServerApp()
    async with serving(app) as url, asking(url, Terms(batch=10, wait_s=0.05)) as server:
        visits = await asyncio.gather(*(server.judge(jobs("7", str(number), "7")) for number in range(10)))
    assert visits == [[RIGHT, RIGHT if number == 7 else WRONG, RIGHT] for number in range(10)]
    assert [len(batch) for batch in app.batches] == [10, 10, 10]


async def test_a_batch_that_is_not_full_is_sent_after_its_wait_and_a_long_text_goes_alone() -> None:
    app = RewardServerApp()
    async with serving(app) as url, asking(url, Terms(wait_s=0, most_bytes=1000)) as server:
        assert await server.judge(jobs("7", "x" * 2_000_000, "7")) == [RIGHT, WRONG, RIGHT]
    assert [len(batch) for batch in app.batches] == [1, 1, 1]


async def test_requests_in_flight_are_bounded_and_what_waits_makes_larger_batches() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def hold(number: int, _completions: list[Asked]) -> None:
        if number == 1:
            started.set()
            await go_on.wait()

    app = RewardServerApp(spoil=hold)
    async with serving(app) as url, asking(url, Terms(wait_s=0, requests=1)) as server:
        first = asyncio.create_task(server.judge(jobs("7")))
        await started.wait()
        others = [asyncio.create_task(server.judge(jobs("7", "8"))) for _ in range(5)]
        # Each gets as far as waiting for its answer.
        await asyncio.sleep(0)
        go_on.set()
        assert await first == [RIGHT]
        assert [await other for other in others] == [[RIGHT, WRONG]] * 5
    assert ([len(batch) for batch in app.batches], app.most_at_once) == ([1, 10], 1)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_passes_is_asked_again_under_the_same_name(status: int) -> None:
    async def fail_twice(number: int, _completions: list[Asked]) -> tuple[int, bytes] | None:
        return (status, b"a secret text") if number < 3 else None

    app = RewardServerApp(spoil=fail_twice)
    async with serving(app) as url, asking(url) as server:
        assert await server.judge(jobs("7", "8")) == [RIGHT, WRONG]
    assert app.batches == [["7", "8"]] * 3
    assert len(set(app.requests)) == 1


async def test_a_server_that_is_down_fails_what_it_was_asked_after_its_tries_and_nothing_hangs() -> None:
    async def fail(_number: int, _completions: list[Asked]) -> tuple[int, bytes]:
        return 500, b"a secret text"

    app = RewardServerApp(spoil=fail)
    async with serving(app) as url, asking(url) as server:
        answers = await server.judge(jobs(*"1234567"))
        with pytest.raises(PilotCommitError, match="it answered 500: a secret text"):
            await server.check()
    assert reasons(answers) == {f"the reward server {url}: it answered 500: a secret text"}
    # Three tries and a question without completions: a batch is not taken apart for a server that answers nothing.
    assert [len(batch) for batch in app.batches] == [7, 7, 7, 0, 0]


async def test_one_that_nobody_listens_at_is_told_as_such() -> None:
    async with serving(RewardServerApp()) as url:
        pass
    async with asking(url) as server:
        (reason,) = reasons(await server.judge(jobs("7")))
    assert "cannot reach the server" in reason


async def test_the_completion_at_which_a_server_fails_is_found_and_fails_alone() -> None:
    async def choke(_number: int, completions: list[Asked]) -> tuple[int, bytes] | None:
        return (500, b"Traceback") if any(each["text"] == "bad" for each in completions) else None

    app = RewardServerApp(spoil=choke)
    async with serving(app) as url, asking(url) as server:
        answers = await server.judge(jobs(*["7"] * 20, "bad", *["7"] * 11))
    assert [isinstance(answer, RewardFailed) for answer in answers].index(True) == 20
    assert answers[:20] + answers[21:] == [RIGHT] * 31
    # At each of five halvings, one half fails three times.
    assert len(app.batches) <= 3 + 1 + 5 * (3 + 1)


async def test_a_part_of_a_batch_that_was_taken_apart_is_asked_again_too() -> None:
    num_parts = 0

    async def choke(_number: int, completions: list[Asked]) -> tuple[int, bytes] | None:
        nonlocal num_parts
        if len(completions) == 4:
            return 500, b"Traceback"
        num_parts += len(completions) == 2
        return (503, b"busy") if num_parts == 1 else None

    app = RewardServerApp(spoil=choke)
    async with serving(app) as url, asking(url) as server:
        assert await server.judge(jobs("7", "8", "7", "8")) == [RIGHT, WRONG] * 2
    assert [len(batch) for batch in app.batches] == [4, 4, 4, 0, 2, 2, 2]


@pytest.mark.parametrize("spoilt", ["fewer", "foreign", "not JSON", "endless"])
async def test_an_answer_that_cannot_be_believed_is_never_a_reward(spoilt: str) -> None:
    async def lie(_number: int, completions: list[Asked]) -> tuple[int, bytes] | None:
        entries = judged(completions)
        if not entries:
            return None
        match spoilt:
            case "fewer":
                entries = entries[1:]
            case "foreign":
                entries[0]["id"] = "c999"
            case "not JSON":
                return 200, b"[1.0, 0.0"
            case "endless":
                return 200, b" " * (65 << 20)
        return 200, json.dumps({"rewards": entries}).encode()

    app = RewardServerApp(spoil=lie)
    async with serving(app) as url, asking(url) as server:
        answers = await server.judge(jobs("7", "8", "7"))
    assert len(reasons(answers)) == 1
    assert not any(isinstance(answer, Judgement) for answer in answers)


async def test_a_nan_fails_its_own_completion_alone() -> None:
    async def divide(_number: int, completions: list[Asked]) -> tuple[int, bytes]:
        entries = judged(completions)
        entries[1]["reward"] = float("nan")
        return 200, json.dumps({"rewards": entries}).encode()

    app = RewardServerApp(spoil=divide)
    async with serving(app) as url, asking(url) as server:
        first, failed, last = await server.judge(jobs("7", "7", "8"))
    assert (first, last) == (RIGHT, WRONG)
    assert "nan, which is not finite" in str(failed)


async def test_a_server_that_is_too_slow_is_given_up() -> None:
    async def sleep(_number: int, _completions: list[Asked]) -> None:
        await asyncio.Event().wait()

    app = RewardServerApp(spoil=sleep)
    async with serving(app) as url, asking(url, Terms(wait_s=0, timeout_s=1, tries=2)) as server:
        answers = await server.judge(jobs("7", "8"))
    (reason,) = reasons(answers)
    assert "no answer within 1 s" in reason
    assert len(app.batches) == 2


async def test_a_connection_that_breaks_off_is_asked_again() -> None:
    num_connections = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_connections
        num_connections += 1
        await reader.readuntil(b"\r\n\r\n")
        # Half an answer, then nothing.
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"rewards": [')
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with asking(f"http://127.0.0.1:{port}") as server:
            (reason,) = reasons(await server.judge(jobs("7", "8")))
    assert "the connection broke" in reason
    assert num_connections == 3


async def test_redirects_are_not_followed() -> None:
    async def elsewhere(_number: int, _completions: list[Asked]) -> tuple[int, bytes]:
        return 307, b""

    app = RewardServerApp(spoil=elsewhere)
    async with serving(app) as url, asking(url) as server:
        (reason,) = reasons(await server.judge(jobs("7")))
    assert "redirects are not followed" in reason
    assert len(app.batches) == 1


async def test_a_visit_that_is_cancelled_asks_nothing_more_and_others_are_answered() -> None:
    app = RewardServerApp()
    async with serving(app) as url, asking(url, Terms(batch=2, wait_s=60)) as server:
        cancelled = asyncio.create_task(server.judge(jobs("gone")))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert await server.judge(jobs("7", "8")) == [RIGHT, WRONG]
    assert app.batches == [["7", "8"]]


async def test_a_close_answers_what_waits_and_what_is_in_flight() -> None:
    started = asyncio.Event()

    async def hold(_number: int, _completions: list[Asked]) -> None:
        started.set()
        await asyncio.Event().wait()

    async with serving(RewardServerApp(spoil=hold)) as url, asking(url, Terms(batch=1, requests=1)) as server:
        judging = asyncio.create_task(server.judge(jobs("7", "8")))
        await started.wait()
        await server.aclose()
        assert reasons(await judging) == {"the scheduler stopped asking its reward server"}
        assert reasons(await server.judge(jobs("7"))) == {"the scheduler stopped asking its reward server"}


async def test_a_close_answers_a_batch_that_was_about_to_be_sent() -> None:
    async with serving(RewardServerApp()) as url, asking(url, Terms(batch=1)) as server:
        judging = asyncio.create_task(server.judge(jobs("7")))
        # The batch has a task, which has not begun.
        await asyncio.sleep(0)
        await server.aclose()
        async with asyncio.timeout(5):
            assert reasons(await judging) == {"the scheduler stopped asking its reward server"}
