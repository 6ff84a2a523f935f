"""The browser that the tests drive.

Owns: finding one on this machine and starting it. Invariant: where there is none, that is said, and how to have one.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

VARIABLE = "PILOTCOMMIT_TEST_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


class NoBrowser(Exception):
    """There is no Chromium here."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless Chromium; raises NoBrowser."""
    async with async_playwright() as playwright:
        path = _path(playwright.chromium.executable_path)
        # Its sandbox refuses to be started by root.
        sandbox = os.geteuid() != 0
        browser = await playwright.chromium.launch(
            executable_path=path,
            chromium_sandbox=sandbox,
            args=["--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"],
        )
        try:
            yield browser
        finally:
            await browser.close()


def _path(of_playwright: str) -> str:
    given = os.environ.get(VARIABLE)
    found = given or next(filter(None, map(shutil.which, _NAMES)), None) or of_playwright
    if not Path(found).exists():
        raise NoBrowser(
            "no Chromium is here: `make browser` installs one, from Debian as root or else Playwright's own; "
            f"or name one in {VARIABLE}"
        )
    return found
