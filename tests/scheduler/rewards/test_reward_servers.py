"""Which reward servers may be asked, and which of them get the key."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from scheduler.core.errors import InvalidInput, RewardFailed
from scheduler.core.reachable import LOCAL, Address, Place, Reachable
from scheduler.core.types import Judgement
from scheduler.destinations import Resolve
from scheduler.rewards.batching import Terms
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.reward_servers import RewardServers
from scheduler.rewards.spec import RewardJob, parse_spec
from scheduler.tls import ClientTls
from tests.certificates import Authority
from tests.scheduler.rewards.judges import Asked, RewardServerApp, serving

KEY = "a-key-of-ours"
JOBS = [RewardJob(text=text, answer="7") for text in ("7", "8")]
JUDGED = [Judgement(reward=1.0, correct=True), Judgement(reward=0.0, correct=False)]
ONCE = Terms(wait_s=0, tries=1)


@asynccontextmanager
async def servers(
    *, listed: Collection[str] = (), reachable: Collection[str] = (), tls: ssl.SSLContext | None = None
) -> AsyncIterator[RewardServers]:
    opened = RewardServers(listed=listed, key=KEY, reachable=Reachable.of(reachable), terms=ONCE, tls=tls)
    try:
        yield opened
    finally:
        await opened.aclose()


@asynccontextmanager
async def named_servers(resolver: Resolve, terms: Terms) -> AsyncIterator[RewardServers]:
    opened = RewardServers(reachable=Reachable.of(LOCAL), terms=terms, resolver=resolver)
    try:
        yield opened
    finally:
        await opened.aclose()


async def test_the_key_goes_to_addresses_that_are_listed_and_to_no_other() -> None:
    listed, named = RewardServerApp(key=KEY), RewardServerApp()
    async with serving(listed) as ours, serving(named) as other, servers(listed=(ours,), reachable=LOCAL) as asked:
        for url in (ours, other):
            await asked.check(url)
            assert await asked.judge(url, JOBS) == JUDGED
    assert set(listed.keys) == {f"Bearer {KEY}"}
    assert set(named.keys) == {""}


async def test_a_wrong_key_shows_when_the_pool_is_created_and_is_told_nowhere() -> None:
    async with serving(RewardServerApp(key="another")) as url, servers(listed=(url,)) as asked:
        with pytest.raises(
            InvalidInput, match="it answered 401: is its key in PILOTCOMMIT_REWARD_SERVER_API_KEY"
        ) as told:
            await asked.check(url)
        (failed, _) = await asked.judge(url, JOBS)
    # The server repeats what it was sent.
    assert "[key] is not the key" in str(told.value)
    assert KEY not in f"{told.value!r} {failed!r}"


async def test_an_address_that_may_not_be_reached_is_never_connected_to() -> None:
    app = RewardServerApp()
    async with serving(app) as url, servers(reachable=("10.0.0.0/8",)) as asked:
        with pytest.raises(
            InvalidInput, match=r"may not be asked: .*PILOTCOMMIT_REACHABLE.*PILOTCOMMIT_REWARD_SERVERS"
        ):
            await asked.check(url)
        assert all("may not be asked" in str(answer) for answer in await asked.judge(url, JOBS))
        for metadata in ("http://169.254.169.254/latest", "http://[fd00:ec2::254]/latest"):
            with pytest.raises(InvalidInput, match="never allowed"):
                await asked.check(metadata)
    assert app.keys == []


async def test_a_name_is_looked_up_anew_and_connected_to_as_judged() -> None:
    app = RewardServerApp()
    where: list[str] = ["127.0.0.1"]

    async def resolver(_place: Place) -> Collection[Address]:
        return [ip_address(where[-1])]

    async with serving(app) as url:
        named = url.replace("127.0.0.1", "judge.example")
        asked = RewardServers(reachable=Reachable.of(LOCAL), terms=ONCE, resolver=resolver)
        assert await asked.judge(named, JOBS) == JUDGED
        # It now leads to what clouds serve credentials at.
        where.append("169.254.169.254")
        assert all("never allowed" in str(answer) for answer in await asked.judge(named, JOBS))
        where.append("127.0.0.2")
        refused = await asked.judge(named, JOBS)
        assert all(isinstance(answer, RewardFailed) and "cannot reach" in str(answer) for answer in refused)
        where.append("127.0.0.1")
        assert await asked.judge(named, JOBS) == JUDGED
        await asked.aclose()


async def test_a_name_server_that_does_not_answer_is_asked_again_and_a_forbidden_address_is_not() -> None:
    said: list[Exception | str] = [OSError("try again"), TimeoutError(), "127.0.0.1"]

    async def resolver(_place: Place) -> Collection[Address]:
        found = said.pop(0)
        if isinstance(found, Exception):
            raise found
        return [ip_address(found)]

    app = RewardServerApp()
    async with serving(app) as url, named_servers(resolver, Terms(wait_s=0, tries=3)) as asked:
        named = url.replace("127.0.0.1", "judge.example")
        assert await asked.judge(named, JOBS) == JUDGED
        said += ["169.254.169.254", "127.0.0.1"]
        assert all("never allowed" in str(answer) for answer in await asked.judge(named, JOBS))
        assert said == ["127.0.0.1"]
        said[:] = [OSError("no such name")]
        with pytest.raises(InvalidInput, match=r"judge\.example cannot be resolved: no such name"):
            await asked.check(named)


async def test_a_name_with_several_addresses_keeps_to_one_while_that_is_among_them() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def hold(number: int, _completions: list[Asked]) -> None:
        if number == 1:
            started.set()
            await go_on.wait()

    order = ["127.0.0.1", "127.0.0.2"]

    async def resolver(_place: Place) -> Collection[Address]:
        found = [ip_address(address) for address in order]
        order.reverse()
        return found

    async with serving(RewardServerApp(spoil=hold)) as url, named_servers(resolver, ONCE) as asked:
        named = url.replace("127.0.0.1", "judge.example")
        first = asyncio.create_task(asked.judge(named, JOBS))
        await started.wait()
        assert await asked.judge(named, JOBS) == JUDGED
        go_on.set()
        assert await first == JUDGED


async def test_what_is_in_flight_to_an_address_that_the_name_had_ends_undisturbed() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_number: int, _completions: list[Asked]) -> None:
        started.set()
        await go_on.wait()

    where = ["127.0.0.1"]

    async def resolver(_place: Place) -> Collection[Address]:
        return [ip_address(where[0])]

    async with serving(RewardServerApp(spoil=hold)) as url, named_servers(resolver, ONCE) as asked:
        named = url.replace("127.0.0.1", "judge.example")
        first = asyncio.create_task(asked.judge(named, JOBS))
        await started.wait()
        where[0] = "127.0.0.2"
        assert all("cannot reach" in str(answer) for answer in await asked.judge(named, JOBS))
        go_on.set()
        assert await first == JUDGED


async def test_where_an_address_of_a_name_does_not_answer_the_next_one_is_asked() -> None:
    async def resolver(_place: Place) -> Collection[Address]:
        return [ip_address("127.0.0.2"), ip_address("127.0.0.1")]

    async with serving(RewardServerApp()) as url, named_servers(resolver, Terms(wait_s=0, tries=2)) as asked:
        assert await asked.judge(url.replace("127.0.0.1", "judge.example"), JOBS) == JUDGED


async def test_certificates_are_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    identity = authority.issue("127.0.0.1")
    trusted = ClientTls(ca_file=authority.ca_file).context()
    stranger = ClientTls(ca_file=Authority(tmp_path / "other").ca_file).context()
    options = {"ssl_certfile": identity.cert_file, "ssl_keyfile": identity.key_file}
    async with serving(RewardServerApp(), **options) as url:
        async with servers(listed=(url,), tls=trusted) as asked:
            assert await asked.judge(url, JOBS) == JUDGED
        for tls in (stranger, None):
            async with servers(listed=(url,), tls=tls) as asked:
                with pytest.raises(InvalidInput, match="in PILOTCOMMIT_REWARD_SERVER_CA_FILE"):
                    await asked.check(url)


async def test_a_pool_of_workers_hands_on_what_a_server_judges() -> None:
    async with serving(RewardServerApp()) as url:
        pool = RewardPool(1, servers=RewardServers(reachable=Reachable.of(LOCAL), terms=ONCE))
        await pool.check(parse_spec(url))
        assert await pool.judge(parse_spec(url), JOBS) == JUDGED
        await pool.close()
        assert all("stopped asking" in str(answer) for answer in await pool.judge(parse_spec(url), JOBS))


async def test_whoever_creates_a_pool_does_not_wait_for_a_server_that_does_not_answer() -> None:
    async def hang(_number: int, _completions: list[Asked]) -> None:
        await asyncio.Event().wait()

    async with serving(RewardServerApp(spoil=hang)) as url:
        asked = RewardServers(reachable=Reachable.of(LOCAL), terms=ONCE)
        pool = RewardPool(1, servers=asked, check_timeout_s=0.05)
        with pytest.raises(InvalidInput, match=r"it was not found to work within 0\.05 s") as refused:
            await pool.check(parse_spec(url))
        assert refused.value.field == "reward"
        await pool.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://user:pass@judge.example/x", "no name or password"),
        ("http://judge.example/x?key=1", "has a query or a fragment"),
        ("http:", "is not an address"),
        ("http://judge example", "has blanks"),
        ("http:judge", "is not an address"),
    ],
)
def test_what_is_no_address_of_a_reward_server_is_refused(url: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as refusal:
        parse_spec(url)
    assert refusal.value.field == "reward"
    assert "pass" not in str(refusal.value).replace("password", "")


def test_two_spellings_of_an_address_are_one_reward() -> None:
    assert parse_spec("HTTPS://Judge.example:443/x/") == parse_spec("https://judge.example/x")
