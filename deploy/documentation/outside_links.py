"""Links out of docs/, on the documentation site: a hook of MkDocs.

Owns: where a file of the repository that a page links to lies on the site. Never changes a page in the repository.
Invariant: a link that works in the repository works on the site, without the network; one to a file that is not there
is left as it is, so that the strict build fails on it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)(#[^)\s]*)?(?=\))")
_PLACE = "repository"
_PICTURES = (".png", ".svg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """A file of the repository, outside of the pages, that a page links to."""

    source: Path
    place: str
    """On the site."""


def outside(markdown: str, page: str, docs: Path) -> Iterator[Outside]:
    """The files that a page links to and that lie outside of `docs`; `page` is its own place below it."""
    for target, _anchor in _LINK.findall(markdown):
        if (found := _outside(target, page, docs)) is not None:
            yield found


def rewritten(markdown: str, page: str, docs: Path) -> str:
    """The page with these links leading to where the files lie on the site."""

    def there(match: re.Match[str]) -> str:
        found = _outside(match[1], page, docs)
        return match[0] if found is None else relpath(found.place, dirname(page) or ".")

    return _LINK.sub(there, markdown)


def _outside(target: str, page: str, docs: Path) -> Outside | None:
    path = normpath(f"{docs.name}/{dirname(page)}/{target}")
    source = docs.parent / path
    if path.startswith(("..", f"{docs.name}/")) or not source.is_file():
        return None
    # Whatever is no picture is read as it is: a page of it would have links of its own that lead nowhere.
    suffix = "" if source.suffix in _PICTURES else ".txt"
    return Outside(source=source, place=f"{_PLACE}/{path}{suffix}")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs with every file of the site: what pages link to outside is added."""
    docs = Path(config.docs_dir)
    found = [one for page in files.documentation_pages() for one in outside(page.content_string, page.src_uri, docs)]
    for place, source in {one.place: one.source for one in found}.items():
        files.append(File.generated(config, place, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Called by MkDocs with each page before it is rendered."""
    return rewritten(markdown, page.file.src_uri, Path(config.docs_dir))
