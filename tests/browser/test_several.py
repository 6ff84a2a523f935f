"""What the console shows of several runs, several pools, profiles, and the labels of servers."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect
from redis.asyncio import Redis

from scheduler.core.mixture import PoolShare
from scheduler.core.run import RunConfig, RunMode
from scheduler.state.runs import RunStore
from tests.browser.conftest import Console
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES, InstantRewards, make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="session")]

H100 = {"gpu": "h100"}
LONG = "a-pool-whose-name-is-so-long-that-a-table-has-to-break-it-somewhere"


@pytest_asyncio.fixture(loop_scope="session")
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    """A scheduler on two fake servers, one with labels, with two pools."""
    rewards = InstantRewards()
    rates = [SOMETIMES] * 24 + [ALWAYS] * 5 + [NEVER] * 8
    async with open_rig(redis, tmp_path, num_servers=2, labels=[H100], rates=rates, rewards=rewards) as opened:
        await opened.create_pool(LONG, make_prompts([SOMETIMES] * 24))
        yield opened
    await rewards.close()


def mixed() -> RunConfig:
    """A run over both pools, three claims to one."""
    shares = (PoolShare(name="sums", weight=3.0), PoolShare(name=LONG, weight=1.0))
    return replace(make_config(), pool="", pools=shares)


def profiled(rig: Rig) -> RunConfig:
    """Four pilots for every prompt of the weights that the servers were started with."""
    return replace(make_config(), mode=RunMode.PROFILE, weights=str(rig.folder / "launch"))


async def test_a_run_in_the_queue_says_its_place_and_for_whom_it_waits(
    console: Console, rig: Rig, learner: Learner
) -> None:
    await rig.create_run(make_config(servers=H100))
    await learner.attach()
    await rig.create_run(make_config(), "second")
    await rig.create_run(make_config(servers=H100), "third")
    page = await console.open()
    third = page.get_by_role("row", name=re.compile("^third"))
    await expect(third).to_contain_text("place 2")
    await expect(third).to_contain_text("gpu=h100")
    await expect(page.get_by_role("row", name=re.compile("^second"))).to_contain_text("place 1")
    await third.get_by_role("link").click()
    await expect(page.get_by_text("Place 2 in the queue: it waits for runs run, second to end")).to_be_visible()
    await rig.service.orders.cancel("second")
    await expect(page.get_by_text("Place 1 in the queue: it waits for run run to end")).to_be_visible()


async def test_a_run_that_wants_a_label_which_no_server_has_waits_for_a_server_and_for_nobody(
    console: Console, rig: Rig
) -> None:
    await rig.create_run(make_config(servers={"gpu": "b200"}))
    page = await console.open("/runs/run")
    await expect(page.get_by_text(re.compile("^Waits for a server with gpu=b200"))).to_be_visible()
    await expect(page.get_by_text("in the queue")).to_have_count(0)


async def test_a_server_says_its_labels_and_whose_it_is(console: Console, rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(servers=H100))
    await learner.attach()
    page = await console.open("/fleet")
    [first, second] = rig.configured
    await expect(page.get_by_role("row", name=first)).to_contain_text(re.compile("gpu=h100.*of run run"))
    await expect(page.get_by_role("row", name=second)).not_to_contain_text("of run")


async def test_a_server_is_added_with_labels_that_are_well_written(console: Console, rig: Rig) -> None:
    address = rig.launch()
    page = await console.open("/fleet")
    await page.get_by_label("Address of another server").fill(address)
    for labels, refusal in (("gpu", "gpu is not NAME=VALUE"), ("gpu=a gpu=b", "gpu is given twice")):
        await page.get_by_label("Its labels, if any").fill(labels)
        await page.get_by_role("button", name="Add server").click()
        await expect(page.get_by_text(refusal)).to_be_visible()
    assert address not in rig.members()
    await page.get_by_label("Its labels, if any").fill("gpu=b200, zone=a")
    await page.get_by_role("button", name="Add server").click()
    await expect(page.get_by_role("row", name=address)).to_contain_text("gpu=b200, zone=a")
    assert rig.server(address).labels == {"gpu": "b200", "zone": "a"}


async def test_a_run_is_queued_for_servers_with_labels(console: Console, rig: Rig) -> None:
    page = await console.open("/new-run")
    await page.get_by_label("Pool", exact=True).select_option("sums")
    await page.get_by_label("Id", exact=True).fill("first")
    await page.get_by_label("Tokens of a rollout at most").fill("8")
    wanted = page.get_by_label("Labels of its servers")
    for typed, refusal in (("h100", "h100 is not NAME=VALUE"), ("gpu=!", "is no word of a label")):
        await wanted.fill(typed)
        await page.get_by_role("button", name="Queue run").click()
        await expect(page.get_by_text(refusal)).to_be_visible()
        await expect(wanted).to_have_attribute("aria-invalid", "true")
    await wanted.fill("gpu=h100")
    await page.get_by_role("button", name="Queue run").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("first")
    await expect(page.locator(".facts")).to_contain_text("gpu=h100")
    assert (await RunStore(rig.redis).get("first")).config.servers == H100


async def test_a_mixed_run_tells_its_pools_apart(console: Console, rig: Rig, learner: Learner) -> None:
    await rig.create_run(mixed())
    await learner.attach()
    await learner.train(steps=2)
    page = await console.open("/runs/run")
    table = page.locator("#mix")
    await expect(table.get_by_role("row", name=re.compile("^sums 75 %"))).to_be_visible()
    await expect(table.get_by_role("row", name=re.compile(f"^{LONG} 25 %"))).to_be_visible()
    await expect(table.locator("thead th")).to_have_count(9)
    await expect(page.locator(".facts")).to_contain_text(f"sums + {LONG}")
    await page.get_by_role("link", name="Prompts").click()
    await page.get_by_label("Part of an id").fill(f"{LONG}:q1")
    await page.get_by_role("link", name=f"{LONG}:q1", exact=True).click()
    await expect(page.get_by_role("heading", level=2)).to_contain_text(f"{LONG}:q1")
    await expect(page.locator("pre")).to_have_text("?")


async def test_a_profile_shows_how_hard_its_pool_is_and_no_charts_of_learning(console: Console, rig: Rig) -> None:
    await rig.create_run(profiled(rig))
    await rig.ended()
    page = await console.open("/runs/run")
    card = page.locator("#profile")
    await expect(card).to_contain_text("37 of 37 prompts with 4 pilots each")
    await expect(card.locator("tbody tr")).to_have_count(5)
    await expect(card.get_by_role("row", name=re.compile("^0 of 4"))).to_contain_text("defer")
    await expect(page.locator(".chart:visible")).to_have_count(2)
    await expect(page.locator(".tile", has_text="Pilots right")).to_have_count(1)
    await expect(page.locator(".tile", has_text="Step")).to_have_count(0)
    await expect(page.locator(".facts")).to_contain_text("profile: pilots alone")


async def test_what_several_have_fits_a_narrow_screen(console: Console, rig: Rig, learner: Learner) -> None:
    await rig.create_run(mixed())
    await learner.attach()
    await learner.train(steps=1)
    await rig.create_run(make_config(servers={"gpu": "b200", "zone": "x" * 60}), "waits")
    await rig.create_run(profiled(rig), "profile")
    page = await console.open(width=360)
    story = f"/runs/run/prompts/{LONG}:q1"
    for address in (
        "/",
        "/runs/run",
        story,
        "/runs/waits",
        "/runs/waits/events",
        "/runs/profile",
        "/fleet",
        "/new-run",
    ):
        await page.goto(f"{console.url}/console/#{address}")
        await expect(page.locator("#link")).to_have_text("live")
        await expect(page.locator("main .card, main .tile").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360, address


async def test_the_completions_of_a_prompt_come_visit_by_visit_and_one_that_was_never_visited_has_none(
    console: Console, rig: Rig, learner: Learner
) -> None:
    await rig.create_pool("few", make_prompts([SOMETIMES] * 4, prefix="f"))
    await rig.create_run(make_config(pool="few"))
    page = await console.open("/runs/run/prompts/f0")
    await page.get_by_role("button", name="Show completions").click()
    await expect(page.locator(".completions + .foot")).to_have_text("It was never visited.")
    await learner.attach()
    await learner.train(steps=8)
    histories = {f"f{at}": (await rig.service.views.prompt("run", f"f{at}")).history for at in range(4)}
    visits = {name: len({event.visit_id for event in history} - {""}) for name, history in histories.items()}
    often = max(visits, key=lambda name: visits[name])
    assert visits[often] > 3, "there are more than are shown at first"
    page = await console.open(f"/runs/run/prompts/{often}")
    await page.get_by_role("button", name="Show completions").click()
    await expect(page.locator(".visit")).to_have_count(3)
    await page.get_by_role("button", name="Earlier visits").click()
    await expect(page.locator(".visit")).not_to_have_count(3)
    await expect(page.locator(".visit").first).to_contain_text(re.compile("[0-9] of 4 pilots right"))
