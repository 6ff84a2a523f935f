"""docs/api-reference.md is what the API is."""

import re
from pathlib import Path
from typing import cast

import pytest

from deploy.documentation.api_reference import Json, document, reference

PAGE = Path(__file__).parents[3] / "docs" / "api-reference.md"


@pytest.fixture(scope="module")
def told() -> Json:
    return document()


def test_the_page_is_written_from_the_code(told: Json) -> None:
    command = "python -m deploy.documentation.api_reference > docs/api-reference.md"
    assert PAGE.read_text() == reference(told), f"run `{command}`"


def test_every_call_and_every_object_is_told_once(told: Json) -> None:
    headings = re.findall(r"^### (.+)$", reference(told), re.MULTILINE)
    paths = cast(dict[str, dict[str, object]], told["paths"])
    calls = [f"`{method.upper()} {path}`" for path, methods in paths.items() for method in methods]
    schemas = cast(dict[str, dict[str, object]], told["components"])["schemas"]
    assert sorted(headings) == sorted([*calls, *schemas])


def test_a_link_leads_to_one_heading(told: Json) -> None:
    page = reference(told)
    slugs = [
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in re.findall(r"^##+ (.+)$", page, re.M)
    ]
    for link in set(re.findall(r"\]\(#([\w-]+)\)", page)):
        assert slugs.count(link) == 1, link


@pytest.mark.parametrize(
    "row",
    [
        "| `min_rollouts` | query | whole number, ≥ 1, ≤ 1,000,000,000 | `8` | Only with at least so many rollouts |",
        "Body: `application/x-ndjson`.",
        "Answer: 201: [Run](#run).",
    ],
)
def test_a_call_is_told_in_words(told: Json, row: str) -> None:
    assert row in reference(told)
