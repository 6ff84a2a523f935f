"""Pictures of the console for the documentation: a run on a real model and a real SGLang, in a real browser.

Owns: which pages are photographed, and when. Invariant: what is shown is what the run came to; nothing is staged.
Run it with `make screenshots`; `ARGS="--steps 4"` takes them earlier in the run, which is then left.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from playwright.async_api import Browser, Page

from inference.interpreter import cache_dir
from scheduler import logs
from scheduler.client import Client
from scheduler.core.lifecycle import ENDED
from scheduler.demo.arithmetic import make_held_out, make_pool
from scheduler.demo.options import DemoOptions
from scheduler.demo.submission import HELD_OUT, POOL, run_request
from scheduler.stack import Stack, StackPlan
from tests.browser.chromium import chromium

_RUN = "arithmetic-1"
_SCALE = 1.5
_SETTLE_MS = 2500


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture."""

    name: str
    address: str
    width: int = 1280
    height: int = 800
    scheme: str = "light"
    open: str = ""
    """What is clicked first."""


SHOTS = (
    Shot(name="run", address=f"/runs/{_RUN}", height=1120),
    Shot(name="run-dark", address=f"/runs/{_RUN}", height=1120, scheme="dark"),
    Shot(name="prompts", address=f"/runs/{_RUN}/prompts"),
    Shot(name="story", address=f"/runs/{_RUN}/prompts", height=900, open="summary"),
    Shot(name="fleet", address="/fleet", height=480),
    Shot(name="events", address=f"/runs/{_RUN}/events", height=620),
    Shot(name="new-run", address="/new-run", height=1000),
    Shot(name="narrow", address=f"/runs/{_RUN}", width=390, height=844, scheme="dark"),
)


async def _take(browser: Browser, url: str, folder: Path) -> None:
    for shot in SHOTS:
        page = await browser.new_page(
            viewport={"width": shot.width, "height": shot.height},
            device_scale_factor=_SCALE,
            color_scheme="dark" if shot.scheme == "dark" else "light",
        )
        await page.goto(f"{url}/console/#{shot.address}")
        await page.locator("#link.on").wait_for()
        if shot.open:
            await _open_story(page, shot.open)
        await page.wait_for_timeout(_SETTLE_MS)
        path = folder / f"console-{shot.name}.png"
        await page.screenshot(path=path)
        sys.stdout.write(f"{path}\n")
        await page.close()


async def _open_story(page: Page, what: str) -> None:
    """Of a prompt that was committed, whose story has the most to tell."""
    await page.get_by_label("Last verdict").select_option("commit")
    await page.locator("tbody .badge.commit").first.wait_for()
    await page.locator("tbody a").first.click()
    await page.locator(what).first.click()


def _submit(client: Client, model: Path) -> None:
    for name, prompts in ((POOL, make_pool(400, 0)), (HELD_OUT, make_held_out(64, 0))):
        client.create_pool(name, tokenizer=str(model), reward="exact")
        client.add_prompts(name, (asdict(prompt) for prompt in prompts))
    client.create_run({**run_request(DemoOptions()), "run_id": _RUN})


async def _reached(client: Client, steps: int) -> None:
    """Wait until the run has taken so many steps, or has ended."""
    while True:
        run = await asyncio.to_thread(client.run, _RUN)
        if int(str(run["step"])) >= steps or run["state"] in ENDED:
            return
        await asyncio.sleep(2.0)


async def _course(stack: Stack, steps: int, folder: Path) -> None:
    await stack.wait_ready()
    with Client(stack.url) as client:
        await asyncio.to_thread(_submit, client, stack.plan.model)
        await _reached(client, steps)
        async with chromium() as browser:
            await _take(browser, stack.url, folder)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


async def _main(steps: int, folder: Path, scratch: Path) -> None:
    with (scratch / "screenshots.log").open("w") as log:
        logs.configure("INFO", log)
        (scratch / "logs").mkdir()
        settings = {"LEARNING_RATE": "5e-6", "CHECKPOINT_EVERY": "15", "KEEP_CHECKPOINTS": "1"}
        plan = StackPlan(
            model=(cache_dir() / "models" / "smollm2-135m-instruct").resolve(),
            folder=scratch,
            port=0,
            scheduler_settings={"MAX_IN_FLIGHT": "256", "LEASE_TTL_S": "30", "DRAIN_S": "30"},
            learner_settings=settings,
        )
        stack = Stack(plan, say=_say)
        running = asyncio.create_task(stack.run())
        course = asyncio.create_task(_course(stack, steps, folder))
        # The course ends by itself; the stack only ends by failing.
        await asyncio.wait({running, course}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, course):
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(running, course, return_exceptions=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description="Pictures of the console, from a run on a real model.")
    parser.add_argument("--steps", type=int, default=16, help="steps of the run before the pictures are taken")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="where they go")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="pilotcommit-screenshots-") as scratch:
        asyncio.run(_main(options.steps, options.out, Path(scratch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
