"""The console's files: public, whole, and under a policy that lets nothing else run."""

import re
from pathlib import Path

import httpx
import pytest

from scheduler.api.app import create_app
from scheduler.console import pages
from scheduler.core.tokens import Scope
from scheduler.service import Service
from scheduler.token_file import TokenFile

FILES = Path(pages.__file__).parent / "static"
OURS = sorted(path for path in FILES.iterdir() if path.suffix in (".js", ".html", ".css"))
MODULES = [path for path in OURS if path.suffix == ".js"]


async def test_the_home_of_the_scheduler_is_the_console(http: httpx.AsyncClient) -> None:
    home = await http.get("/")
    assert (home.status_code, home.headers["location"]) == (307, "/console/")
    page = await http.get("/console/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("path", ["", "app.js", "style.css", "icon.svg", "vendor/uplot/uPlot.esm.js"])
async def test_every_file_comes_with_the_policy_and_its_own_type(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(f"/console/{path}")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    types = {"": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    assert answer.headers["content-type"].split(";")[0] == types[Path(path).suffix]


async def test_files_need_no_token_and_data_does(service: Service, tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.ndjson")
    tokens.create("reader", [Scope.READ])
    transport = httpx.ASGITransport(create_app(service, tokens=tokens))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as http:
        assert (await http.get("/console/")).status_code == 200
        assert (await http.get("/v1/events")).status_code == 401
        assert (await http.get("/v1/runs")).status_code == 401


async def test_nothing_outside_the_folder_is_served(http: httpx.AsyncClient) -> None:
    for path in ("../pages.py", "%2e%2e/pages.py", "..%2fpages.py"):
        assert (await http.get(f"/console/{path}")).status_code == 404


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_file_asks_for_anything_from_elsewhere(path: Path) -> None:
    outside = re.findall(r"https?://(?!www\.w3\.org|10\.)[^\s\"'`]+", path.read_text())
    assert outside == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_writes_markup_or_makes_code(path: Path) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function"
    assert not re.search(forbidden, path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_every_module_that_is_imported_is_there(path: Path) -> None:
    for name in re.findall(r"from \"(\./[^\"]+)\"", path.read_text()):
        assert (path.parent / name).is_file(), name


def test_the_library_comes_with_its_licence() -> None:
    assert "Leon Sorokin" in (FILES / "vendor/uplot/LICENSE").read_text()
