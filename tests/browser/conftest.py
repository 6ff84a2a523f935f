"""A scheduler on a real socket over fake servers, and a browser that looks at it.

The browser is started once, so everything here lives in the loop of the session.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, expect
from redis.asyncio import Redis

from scheduler.api.app import create_app
from scheduler.core.budget import Budget
from scheduler.core.run import EvaluationPlan
from scheduler.core.types import Prompt
from scheduler.state.connection import connect
from scheduler.token_file import TokenFile
from tests.browser.chromium import NoBrowser, chromium
from tests.scheduler.engine.factories import InstantRewards, make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig
from tests.scheduler.served import listening
from tests.tiny_model import write_tiny_model

_PATIENCE_MS = 30_000
"""A shared machine may take long to draw a page."""
RATES = (0, 5, 20, 35, 50, 65, 80, 95, 100, 100) * 4
_REFUSED = re.compile("status of (401|403|422)")
"""Chromium reports every answer that is no success; these are refusals that the page shows."""
HOSTILE = "<img src=x onerror=document.title='broken'>"


@dataclass(slots=True, kw_only=True)
class Console:
    """The console in a browser."""

    browser: Browser
    url: str
    errors: list[str] = field(default_factory=list)
    """What the browser complained of."""

    async def open(self, address: str = "/", *, width: int = 1280, scheme: str = "light") -> Page:
        """The page at an address of the console, in a window of its own."""
        page = await self.browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page.set_default_timeout(_PATIENCE_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        # Playwright writes on the owner of a bound method, which has slots.
        page.on("console", lambda message: self._note(message))
        await page.goto(f"{self.url}/console/#{address}")
        return page

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _REFUSED.search(message.text):
            self.errors.append(message.text)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A browser, or a skip that says why there is none."""
    try:
        async with chromium() as found:
            expect.set_options(timeout=_PATIENCE_MS)
            yield found
    except NoBrowser as missing:
        pytest.skip(str(missing))


@pytest_asyncio.fixture(loop_scope="session")
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database, of the loop that the browser lives in."""
    client = connect(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    """A scheduler on two fake servers, with pools to train and to evaluate on."""
    rewards = InstantRewards()
    async with open_rig(redis, tmp_path, num_servers=2, rates=RATES, rewards=rewards) as opened:
        odd = Prompt(prompt_id=HOSTILE, input_ids=(1, 2, 50), text="<b>bold</b> 3 + 4 =", answer="yes")
        await opened.create_pool("held-out", [*make_prompts((20, 50, 80), prefix="h"), odd])
        yield opened
    await rewards.close()


@pytest.fixture
def learner(rig: Rig) -> Learner:
    """The run's learner."""
    return Learner(at=lambda: rig.service, folder=rig.folder)


@pytest_asyncio.fixture(loop_scope="session")
async def console(rig: Rig, browser: Browser) -> AsyncIterator[Console]:
    """The console of a scheduler without tokens; at the end the browser must not have complained of anything."""
    async with listening(create_app(rig.service)) as url:
        looking = Console(browser=browser, url=url)
        yield looking
        await _close(browser)
    assert looking.errors == []


@pytest_asyncio.fixture(loop_scope="session")
async def guarded(rig: Rig, browser: Browser, tokens: TokenFile) -> AsyncIterator[Console]:
    """The console of a scheduler with tokens."""
    async with listening(create_app(rig.service, tokens=tokens)) as url:
        looking = Console(browser=browser, url=url)
        yield looking
        await _close(browser)
    assert looking.errors == []


async def _close(browser: Browser) -> None:
    """Close the windows first: the server waits for their streams."""
    for context in browser.contexts:
        await context.close()


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    """A token file."""
    return TokenFile(tmp_path / "tokens.ndjson")


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A model with a tokenizer of characters."""
    return write_tiny_model(tmp_path)


@pytest_asyncio.fixture(loop_scope="session")
async def run(rig: Rig, learner: Learner) -> str:
    """A run that has taken four steps, and waits for its learner to take the fifth."""
    plan = EvaluationPlan(pool="held-out", rollouts=2, every_steps=2, rollouts_between=2)
    await rig.create_run(make_config(budget=Budget(rollouts=4000, tokens=40_000), evaluation=plan))
    await learner.attach()
    await learner.train(steps=4)
    return "run"
