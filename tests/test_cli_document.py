"""docs/cli.md: its example of a run is one."""

import re
import tomllib
from pathlib import Path

from scheduler.api.run_requests import NewRun

DOCUMENT = Path(__file__).parents[1] / "docs" / "cli.md"


def test_the_example_of_a_run_is_a_run() -> None:
    [example] = re.findall(r"```toml\n# run.toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    config = NewRun(**tomllib.loads(example)).config()
    assert (config.pool, config.group_size, config.budget.rollouts) == ("arithmetic", 32, 20_000)
