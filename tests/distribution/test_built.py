"""The wheel has what an installation needs, and nothing else; the source distribution builds the same wheel."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.distribution.built import PACKAGES, ROOT, Built, build, contents, metadata, unpacked

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SEMANTIC = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)((a|b|rc)\d+)?"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def sources() -> set[str]:
    """Every file of the packages."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"}


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(built: Built) -> None:
    held = {name for name in contents(built.wheel) if ".dist-info/" not in name}
    assert held == sources()
    assert {name.partition("/")[0] for name in held} == set(PACKAGES)


@pytest.mark.parametrize(
    "name",
    [
        *(f"{package}/py.typed" for package in PACKAGES),
        "scheduler/state/lua/transaction.lua",
        "scheduler/console/static/index.html",
        "scheduler/console/static/vendor/uplot/uPlot.esm.js",
        "scheduler/demo/page.html.jinja",
        "inference/requirements-sglang-cpu.txt",
        "inference/requirements-sglang-cuda.txt",
    ],
)
def test_what_is_read_at_run_time_is_in_the_wheel(built: Built, name: str) -> None:
    assert name in contents(built.wheel)


def test_the_licence_is_in_the_wheel(built: Built) -> None:
    [held] = [content for name, content in contents(built.wheel).items() if name.endswith("licenses/LICENSE")]
    assert held == (ROOT / "LICENSE").read_bytes()


def test_the_source_distribution_builds_the_same_wheel(built: Built, tmp_path: Path) -> None:
    again = build(unpacked(built.sdist, tmp_path / "sources"), tmp_path / "dist")
    assert contents(again.wheel) == contents(built.wheel)


def test_the_source_distribution_has_the_tests_and_nothing_that_git_ignores(built: Built, tmp_path: Path) -> None:
    held = unpacked(built.sdist, tmp_path)
    assert (held / "tests" / "distribution" / "test_built.py").is_file()
    assert (held / "docs" / "index.md").is_file()
    assert [
        path for path in held.iterdir() if path.name in (".venv", ".git", "site", "demo-output", ".wheel-test")
    ] == []


def test_the_version_is_a_semantic_one_and_stands_in_one_place(built: Built) -> None:
    assert re.fullmatch(SEMANTIC, PROJECT["version"])
    assert metadata(built.wheel)["Version"] == PROJECT["version"]
    assigned = re.compile(r"^(?:__version__|VERSION)\s*=", re.MULTILINE)
    modules = (ROOT / name for name in sources() if name.endswith(".py"))
    assert [module for module in modules if assigned.search(module.read_text())] == []


def test_the_command_is_installed(built: Built) -> None:
    [points] = [content for name, content in contents(built.wheel).items() if name.endswith("entry_points.txt")]
    assert points.decode() == "[console_scripts]\npilotcommit = scheduler.cli:main\n"


def test_the_wheel_asks_for_what_the_project_names(built: Built) -> None:
    asked = {line for line in metadata(built.wheel).get_all("Requires-Dist", ()) if "extra ==" not in line}
    assert {re.split(r"[\[<>=; ]", line)[0] for line in asked} == {
        re.split(r"[\[<>=; ]", line)[0] for line in PROJECT["dependencies"]
    }
