"""The demo asks for a run the API accepts, and fails with one clear line."""

from pathlib import Path

import pytest

from scheduler.api.run_requests import NewRun
from scheduler.demo.main import demo
from scheduler.demo.options import DemoOptions
from scheduler.demo.submission import HELD_OUT, POOL, run_request


@pytest.mark.parametrize("allocator", ["pilot_commit", "grpo"])
def test_the_run_it_asks_for_is_one_the_api_accepts(allocator: str) -> None:
    config = NewRun.model_validate(run_request(DemoOptions(allocator=allocator, budget_rollouts=320))).config()
    assert (config.pool, config.allocator, config.group_size, config.batch_size) == (POOL, allocator, 16, 8)
    assert config.budget.rollouts == 320
    assert config.evaluation is not None
    assert config.evaluation.pool == HELD_OUT


def test_a_missing_model_is_one_line_that_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = demo(DemoOptions(model=tmp_path / "nowhere", out=tmp_path / "out"))
    told = " ".join(capsys.readouterr().out.split())
    assert code == 1
    assert "make model" in told
    assert "Traceback" not in told
