"""Links of the texts beside docs/ lead to files and headings that are there; those within docs/ are the site's."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(markdown: str) -> set[str]:
    """The anchors of a text's headings, as the repository's host makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", markdown), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(text: str, folder: Path) -> list[str]:
    """The links of a text in a folder that lead to no file, or to no heading of one."""
    local = [link for link in _LINK.findall(_FENCE.sub("", text)) if not re.match(r"[a-z]+:", link)]
    return [link for link in local if not _is_there(link, text, folder)]


def _is_there(link: str, text: str, folder: Path) -> bool:
    path, _, anchor = link.partition("#")
    if path and not (folder / path).exists():
        return False
    return not anchor or anchor in anchors((folder / path).read_text() if path else text)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    assert _LINK.search(text)
    assert broken(text, ROOT) == []


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("other.md", False),
        ("other.md#what-happened", False),
        ("#here", False),
        ("https://example.org/gone", False),
        ("gone.md", True),
        ("other.md#when", True),
        ("other.md#in-a-block", True),
        ("#there", True),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path: Path, link: str, is_broken: bool) -> None:
    (tmp_path / "other.md").write_text("# Other\n\n## What happened?\n\n```\n# In a block\n```\n")
    assert broken(f"# Here\n\n[it]({link})\n", tmp_path) == ([link] if is_broken else [])
