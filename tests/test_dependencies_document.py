"""docs/decisions/0036 names every dependency of an installation and nothing else, and whatever is imported is there."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
[PAGE] = (ROOT / "docs" / "decisions").glob("0036-*.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOR_DEVELOPERS = "dev"
OURS = ("scheduler", "learner", "inference")
BROUGHT_BY = {
    "starlette": "fastapi",
    "pydantic_core": "pydantic",
    "yarl": "aiohttp",
    "multidict": "aiohttp",
    "tokenizers": "transformers",
}
"""What is imported and comes with a dependency, as the page says."""
OF_SGLANG = {"sglang", "attention_backend", "batched_attention"}
"""Imported in SGLang's own environment only (`inference/cpu`)."""
OF_TRAINERS = {"trl", "verl", "transfer_queue", "slime"}
"""Imported in the environment of whoever has them (`learner/adapters`)."""


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=;! ]", requirement)[0].lower()


def rows(heading: str) -> list[list[str]]:
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in row] for row in table]


def extras() -> Iterator[tuple[str, str]]:
    """Dependencies by extra, those of other extras left to these."""
    for extra, requirements in PROJECT["optional-dependencies"].items():
        if extra != FOR_DEVELOPERS:
            yield from ((extra, name_of(line)) for line in requirements if not line.startswith("pilotcommit["))


def imported() -> Iterator[str]:
    """The first name of every module that ours import."""
    for package in OURS:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module.partition(".")[0]


def test_every_dependency_is_in_the_audit_and_nothing_else() -> None:
    named = [row[0] for row in rows("With every installation")]
    assert sorted(named) == sorted(name_of(line) for line in PROJECT["dependencies"])


def test_every_dependency_of_an_extra_is_in_the_audit_and_nothing_else() -> None:
    named = [(row[0], row[1]) for row in rows("With an extra")]
    assert sorted(named) == sorted(extras())


def test_each_says_what_it_is_for() -> None:
    assert [row[0] for row in rows("With every installation") if len(row) != 3 or not row[1]] == []
    assert [row[1] for row in rows("With an extra") if len(row) != 4 or not row[2]] == []


def test_whatever_is_imported_is_a_dependency() -> None:
    declared = {name_of(line) for line in PROJECT["dependencies"]} | {name for _, name in extras()}
    found = {name for name in imported() if name not in {*sys.stdlib_module_names, *OURS, *OF_SGLANG, *OF_TRAINERS}}
    distributions = packages_distributions()
    undeclared = {
        name
        for name in found - BROUGHT_BY.keys()
        if not {other.lower().replace("_", "-") for other in distributions.get(name, [name])} & declared
    }
    assert undeclared == set()
    assert BROUGHT_BY.keys() <= found
    assert set(BROUGHT_BY.values()) <= declared


def test_modules_that_the_audit_names_are_there() -> None:
    named = re.findall(r"`((?:scheduler|learner|inference|deploy|tests)/[\w/.]+)`", PAGE.read_text())
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
