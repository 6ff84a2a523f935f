"""One learner at a time works in a directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from learner.work_dir import WorkDir
from scheduler.core.errors import LearnerError


def test_a_second_learner_is_turned_away_while_the_first_works(tmp_path: Path) -> None:
    work_dir = WorkDir(root=tmp_path / "run")
    with work_dir.held(), pytest.raises(LearnerError, match="another learner works in"), work_dir.held():
        pass
    with work_dir.held():
        assert work_dir.checkpoints.is_dir()
        assert work_dir.weights.is_dir()


def test_the_lock_falls_with_a_killed_process(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys; from learner.work_dir import WorkDir\n"
        "with WorkDir(root=pathlib.Path(sys.argv[1])).held(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode < 0
    with WorkDir(root=tmp_path).held():
        pass
