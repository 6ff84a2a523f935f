"""The check of the documentation finds what leads nowhere: it once ran so quietly that it passed everything."""

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.lint import ROOT, looks

FAULTS = {
    "[a page](gone.md)": "a link 'gone.md', but the target is not found",
    "[a heading](api.md#nowhere)": "a link 'api.md#nowhere', but the doc 'api.md' does not contain an anchor",
    "[a heading of this page](#nowhere)": "a link '#nowhere', but there is no such anchor on this page",
    "[a file of the repository](../gone.png)": "a link '../gone.png', but the target is not found",
    "[a place on this host](/api.md)": "an absolute link '/api.md'",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of the repository as the site is made of."""
    for folder in ("docs", "deploy/documentation"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("benchmarks", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    return tmp_path


def test_whatever_leads_nowhere_fails_the_check_and_is_named(checkout: Path) -> None:
    [look] = [look for look in looks() if look.title == "documentation"]
    with (checkout / "docs" / "cli.md").open("a") as page:
        page.write("\n" + "\n".join(FAULTS) + "\n")
    (checkout / "docs" / "stray.md").write_text("# In no navigation\n")
    done = subprocess.run(look.argv, cwd=checkout, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert [fault for fault in FAULTS.values() if fault not in said] == []
    assert 'not included in the "nav" configuration:\n  - stray.md' in said
    assert f"Aborted with {len(FAULTS) + 1} warnings" in said
