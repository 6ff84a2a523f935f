"""Links out of docs/ lead to copies on the site, and those that lead nowhere are left for the strict build to find."""

from pathlib import Path

import pytest

from deploy.documentation.outside_links import outside, rewritten


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    for name in ("results/curve.png", "LICENSE", "docs/page.md", "docs/images/inside.png"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text("")
    return tmp_path / "docs"


@pytest.mark.parametrize(
    ("page", "link", "on_the_site"),
    [
        ("page.md", "../results/curve.png", "repository/results/curve.png"),
        ("decisions/1.md", "../../results/curve.png", "../repository/results/curve.png"),
        ("page.md", "../LICENSE", "repository/LICENSE.txt"),
        ("page.md", "../LICENSE#part", "repository/LICENSE.txt"),
    ],
)
def test_a_link_out_of_the_pages_leads_to_a_copy(docs: Path, page: str, link: str, on_the_site: str) -> None:
    text = f"See [it]({link}), and ![it]({link})."
    assert rewritten(text, page, docs) == f"See [it]({on_the_site}), and ![it]({on_the_site})."
    [copy] = {one.place for one in outside(text, page, docs)}
    assert copy == on_the_site.removeprefix("../")


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ("decisions/1.md", "../page.md#what"),
        ("decisions/1.md", "../images/inside.png"),
        ("page.md", "../results/gone.png"),
        ("page.md", "../../elsewhere/LICENSE"),
        ("page.md", "https://example.org/../LICENSE"),
    ],
)
def test_any_other_link_is_left_as_it_is(docs: Path, page: str, link: str) -> None:
    text = f"[it]({link})"
    assert rewritten(text, page, docs) == text
    assert [*outside(text, page, docs)] == []
