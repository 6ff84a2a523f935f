"""Every extra for users has a promise, which `make wheel-test` keeps it to; the changelog begins with the version."""

import re

from tests.distribution.built import ROOT
from tests.distribution.checks import PICTURES
from tests.distribution.promises import FOR_DEVELOPERS, PROMISES
from tests.distribution.test_built import PROJECT, SEMANTIC

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def test_every_extra_has_a_promise() -> None:
    assert set(PROJECT["optional-dependencies"]) - FOR_DEVELOPERS == set(PROMISES)


def test_what_an_extra_brings_is_named_by_it_or_by_an_extra_that_it_takes_in() -> None:
    extras = PROJECT["optional-dependencies"]

    def named(extra: str) -> set[str]:
        names = set[str]()
        for line in extras[extra]:
            inner = re.match(r"pilotcommit\[([\w,]+)\]", line)
            found = (name for other in inner[1].split(",") for name in named(other)) if inner else [_name(line)]
            names |= set(found)
        return names

    assert {extra: set(promise.brings) - named(extra) for extra, promise in PROMISES.items()} == {
        extra: set() for extra in PROMISES
    }


def test_what_only_an_extra_brings_is_no_dependency_of_the_base() -> None:
    base = {_name(line) for line in PROJECT["dependencies"]}
    assert {name for promise in PROMISES.values() for name in promise.brings if name in base} == set()


def test_modules_that_need_the_library_of_pictures_are_left_out_of_what_the_base_imports() -> None:
    files = (ROOT / "scheduler").rglob("*.py")
    drawing = [path for path in files if re.search(r"^(from|import) matplotlib", path.read_text(), re.MULTILINE)]
    assert {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in drawing} == set(PICTURES)


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=; ]", requirement)[0].lower()


def test_the_newest_part_of_the_changelog_is_of_this_version() -> None:
    [newest, *_] = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    text = CHANGELOG.partition(f"## {newest}\n")[2]
    assert newest.startswith(f"[{PROJECT['version']}]") or (newest == "[Unreleased]" and PROJECT["version"] in text)


def test_the_changelog_is_kept_in_parts_by_version_and_kind() -> None:
    versions = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    dated = rf"\[{SEMANTIC}\] - \d{{4}}-\d{{2}}-\d{{2}}"
    assert [version for version in versions if not re.fullmatch(rf"\[Unreleased\]|{dated}", version)] == []
    kinds = re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)
    assert kinds
    assert set(kinds) <= set(KINDS)
    for part in CHANGELOG.split("\n## ")[1:]:
        before_any = part.partition("\n### ")[0]
        assert "\n- " not in before_any, "a change stands under Added, Changed, Fixed and so on"
