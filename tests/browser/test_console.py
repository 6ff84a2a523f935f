"""The console as people use it: in a browser, against a scheduler at work."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from scheduler.core.lifecycle import RunState
from scheduler.core.tokens import Scope
from scheduler.state.runs import RunStore
from scheduler.token_file import TokenFile
from tests.browser.conftest import HOSTILE, Console
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="session")]


def tile(page: Page, name: str) -> Locator:
    return page.locator(".tile").filter(has=page.get_by_text(name, exact=True)).locator("strong")


async def test_a_run_is_watched_from_the_list_to_its_charts_without_a_reload(
    console: Console, run: str, learner: Learner
) -> None:
    page = await console.open()
    await page.get_by_role("link", name=run, exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("running")
    await expect(tile(page, "Step")).to_have_text("4")
    await expect(page.locator(".chart canvas")).to_have_count(4)
    await learner.train(steps=2)
    await expect(tile(page, "Step")).to_have_text("6")
    await expect(page.get_by_label(re.compile("accuracy from"))).to_be_visible()


async def test_a_prompt_is_found_by_its_verdict_and_tells_its_story(console: Console, run: str) -> None:
    page = await console.open(f"/runs/{run}/prompts")
    await page.get_by_label("Last verdict").select_option("commit")
    await expect(page.locator("tbody tr").first).to_contain_text("commit")
    await page.locator("tbody a").first.click()
    await expect(page.get_by_text("of its rollouts are expected to be right")).to_be_visible()
    await page.locator("summary").first.click()
    await expect(page.locator("details[open] tbody tr").first).to_contain_text("pilot")
    await expect(page.get_by_text(re.compile("trained in step"))).not_to_have_count(0)


async def test_a_prompt_is_found_by_a_part_of_its_id(console: Console, run: str) -> None:
    page = await console.open(f"/runs/{run}/prompts")
    await page.get_by_label("Part of an id").fill("q39")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_label("Part of an id").fill("nothing like it")
    await expect(page.get_by_text("No prompt is like that.")).to_be_visible()


async def test_what_comes_from_outside_is_text_and_never_markup(console: Console, rig: Rig) -> None:
    await rig.create_run(make_config(pool="held-out"), "odd")
    page = await console.open("/runs/odd/prompts")
    await page.get_by_role("link", name=HOSTILE).click()
    await expect(page.get_by_role("heading", level=2)).to_contain_text(HOSTILE)
    await expect(page.locator("pre")).to_have_text("<b>bold</b> 3 + 4 =")
    assert await page.locator("main img, main b").count() == 0
    assert HOSTILE in await page.title()


async def test_a_run_is_paused_and_resumed(console: Console, rig: Rig, run: str) -> None:
    page = await console.open(f"/runs/{run}")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("paused")
    assert await rig.state() is RunState.PAUSED
    await page.get_by_role("button", name="Resume").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("running")


async def test_a_budget_is_raised_and_never_lowered(console: Console, rig: Rig, run: str) -> None:
    page = await console.open(f"/runs/{run}")
    await page.get_by_role("button", name="Raise budget").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Rollouts").fill("10")
    await dialog.get_by_role("button", name="Raise").click()
    await expect(dialog.get_by_text("10 is below 4,000, the limit now: it can only be raised")).to_be_visible()
    await dialog.get_by_label("Rollouts").fill("9,000")
    await dialog.get_by_role("button", name="Raise").click()
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_text(re.compile("of 9,000"))).to_be_visible()
    assert (await RunStore(rig.redis).get(run)).config.budget.rollouts == 9000
    await page.get_by_role("link", name="Events").click()
    await expect(page.get_by_text("rollouts from 4,000 to 9,000")).to_be_visible()


async def test_a_run_is_cancelled_only_when_that_is_confirmed(console: Console, rig: Rig, run: str) -> None:
    page = await console.open(f"/runs/{run}")
    await page.get_by_role("button", name="Cancel run").click()
    await page.get_by_role("dialog").get_by_role("button", name="Back").click()
    assert await rig.state() is RunState.RUNNING
    await page.get_by_role("button", name="Cancel run").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel run").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
    await rig.ended()
    await expect(page.get_by_role("button", name="Cancel run")).to_have_count(0)


async def test_a_pool_and_a_run_over_it_are_made(console: Console, rig: Rig, model_folder: Path) -> None:
    page = await console.open("/pools/new")
    await page.get_by_label("Name").fill("mine")
    await page.get_by_label("Folder of the tokenizer").fill(str(model_folder))
    await page.get_by_label("First prompts").fill('{"id": "sum", "text": "3 + 4 =", "answer": "7"}')
    await page.get_by_role("button", name="Create pool").click()
    await expect(page.get_by_role("row", name="mine")).to_contain_text("1")
    await page.get_by_label("Or the prompts themselves").fill('{"id": "sum"}')
    await page.get_by_label("Pool", exact=True).select_option("mine")
    await page.get_by_role("button", name="Add prompts").click()
    await expect(page.get_by_role("alert").filter(has_text="line 1")).to_be_visible()
    await page.get_by_role("link", name="Runs").click()
    await page.get_by_role("link", name="New run").click()
    await page.get_by_label("Pool", exact=True).select_option("mine")
    await page.get_by_label("Id", exact=True).fill("first")
    await page.get_by_label("Tokens of a rollout at most").fill("8")
    await page.get_by_label("Rollouts", exact=True).fill("3")
    await page.get_by_role("button", name="Queue run").click()
    await expect(page.get_by_text("3 rollouts cannot fund one group")).to_be_visible()
    await page.get_by_label("Rollouts", exact=True).fill("300")
    await page.get_by_role("button", name="Queue run").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("first")
    record = await RunStore(rig.redis).get("first")
    assert (record.config.pool, record.config.budget.rollouts) == ("mine", 300)


async def test_a_server_is_drained_resumed_and_removed(console: Console, rig: Rig, run: str) -> None:
    page = await console.open("/fleet")
    [first, second] = rig.configured
    await page.get_by_role("button", name=f"Drain {first}").click()
    await expect(page.get_by_role("row", name=first)).to_contain_text("drained")
    await page.get_by_role("button", name=f"Resume {first}").click()
    await expect(page.get_by_role("row", name=first)).to_contain_text("serving")
    await page.get_by_role("button", name=f"Remove {second}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(page.get_by_role("row", name=second)).to_have_count(0)
    assert rig.members() == [first]


async def test_the_course_of_a_run_is_told(console: Console, run: str) -> None:
    page = await console.open(f"/runs/{run}/events")
    await expect(page.locator(".log")).to_contain_text("A learner attached, resuming from step 0")
    await expect(page.locator(".log")).to_contain_text("waiting weights")


async def test_what_the_rollouts_of_a_prompt_said_can_be_read(console: Console, run: str) -> None:
    page = await console.open(f"/runs/{run}/prompts")
    await page.get_by_label("Last verdict").select_option("commit")
    await page.locator("tbody a").first.click()
    await page.get_by_role("button", name="Show completions").click()
    completion = page.locator(".completions details").first
    await completion.locator("summary").click()
    await expect(completion.locator("summary")).to_contain_text("reward")
    await expect(completion.locator("pre")).to_have_text(re.compile("yes|no"))


async def test_a_narrow_screen_has_nothing_to_the_side(console: Console, run: str) -> None:
    page = await console.open(width=360)
    for address in (
        "/",
        "/runs/run",
        "/runs/run/prompts",
        "/runs/run/prompts/q3",
        "/runs/run/events",
        "/fleet",
        "/pools",
    ):
        await page.goto(f"{console.url}/console/#{address}")
        await expect(page.locator("#link")).to_have_text("live")
        await expect(page.locator("main .card, main .tile").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360, address


async def test_dark_follows_the_system_until_another_choice_is_made(console: Console, run: str) -> None:
    page = await console.open(f"/runs/{run}", scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert await page.evaluate(background) == "rgb(18, 22, 29)"
    button = page.locator("#theme")
    await button.click()
    await expect(button).to_have_text("Light")
    assert await page.evaluate(background) == "rgb(246, 247, 249)"
    await page.reload()
    await expect(button).to_have_text("Light")


async def test_the_keyboard_is_enough(console: Console, run: str) -> None:
    page = await console.open()
    await expect(page.get_by_role("link", name=run, exact=True)).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="New run")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text(run)
    await page.get_by_role("link", name="Prompts").press("Enter")
    await page.get_by_label("Part of an id").wait_for()
    await page.keyboard.press("/")
    await expect(page.get_by_label("Part of an id")).to_be_focused()


async def test_a_token_is_asked_for_once_and_kept_for_the_tab(guarded: Console, tokens: TokenFile, run: str) -> None:
    key = tokens.create("reader", [Scope.READ])
    page = await guarded.open(f"/runs/{run}")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_have_count(1)
    await dialog.get_by_label("Token").fill("a guess")
    await dialog.get_by_role("button", name="Continue").click()
    await expect(dialog.get_by_text("unknown or was revoked")).to_be_visible()
    await dialog.get_by_label("Token").fill(key)
    await dialog.get_by_role("button", name="Continue").click()
    await expect(tile(page, "Step")).to_have_text("4")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_text("needs the scope operate")).to_be_visible()
    await page.reload()
    await expect(tile(page, "Step")).to_have_text("4")


async def test_an_empty_scheduler_says_what_to_do_first(console: Console) -> None:
    page = await console.open()
    await expect(page.get_by_text("There is no run yet.")).to_be_visible()
    await page.get_by_role("link", name="create a pool").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("New pool")


async def test_a_run_that_is_not_there_is_said_not_to_be(console: Console) -> None:
    page = await console.open("/runs/nobody")
    await expect(page.get_by_text("This scheduler has no such run.")).to_be_visible()
    await page.goto(f"{console.url}/console/#/nowhere")
    await expect(page.get_by_text("There is no such page.")).to_be_visible()
