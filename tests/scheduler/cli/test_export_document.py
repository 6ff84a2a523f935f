"""docs/export.md: its commands and its notebook do what it says."""

import os
import re
from pathlib import Path

import pytest

from scheduler.service import Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import make_busy_run
from tests.test_readme import commands

DOCUMENT = (Path(__file__).parents[3] / "docs" / "export.md").read_text()
EXAMPLES = [words[1:] for words in commands(DOCUMENT) if words[:2] == ["pilotcommit", "export"]]


async def test_its_commands_write_what_its_notebook_reads(
    pilotcommit: Command,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await make_busy_run(service.redis, "math-1")
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLES) == 2
    for words in EXAMPLES:
        said = await pilotcommit(*words)
        assert said.code == 0, said.err
    assert {"ledger.jsonl", "groups.jsonl", "ledger.parquet"} < set(os.listdir("exported"))
    [notebook] = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    exec(notebook, {})
    assert capsys.readouterr().out.strip() == str((await service.views.run("math-1")).ledger.spent_rollouts)
