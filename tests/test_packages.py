"""The three import names are ours, and the scheduler runs where torch is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_TORCH = (
    "scheduler.main",
    "scheduler.cli",
    "scheduler.client",
    "scheduler.learner_link",
    "scheduler.training_client",
    "scheduler.stack",
    "scheduler.tokenizers",
    "inference.client",
    "inference.launch",
)


def _run(script: str, *, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["scheduler", "learner", "inference"])
def test_an_import_name_resolves_to_this_repository(name: str, tmp_path: Path) -> None:
    # They are common words: whatever else is installed under them would be run in our place.
    assert _run(f"import {name}; print(*{name}.__path__)", cwd=tmp_path) == str(ROOT / name)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_the_scheduler_and_the_inference_client_import_without_torch(name: str, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        # None makes any import of it fail, as where it is not installed.
        "sys.modules['torch'] = None\n"
        f"import {name}\n"
        "print(*[module for module in sys.modules if module.split('.')[0] in ('torch', 'learner')])\n"
    )
    assert _run(script, cwd=tmp_path) == "torch"
