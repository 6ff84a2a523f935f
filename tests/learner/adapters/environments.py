"""The environments of other people's trainers: `python -m tests.learner.adapters.environments` makes them.

Owns: which trainers, where they are, and why one cannot be had. Never imports one here: they contradict what this
project needs. Invariant: a path handed out belongs to a finished installation.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.trl import TRL_VERSION, trl_python
from inference.install_sglang import Step, run_step
from inference.interpreter import cache_dir

VERL_VERSION = "0.9.1"
CLIENT = ("anyio", "httpx", "msgspec", "numpy", "structlog")
"""What `scheduler.training_client` and the adapters need beside the trainer itself."""
ROOT = Path(__file__).resolve().parents[3]
MAKE = "run `make setup-trainers`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One trainer's virtual environment."""

    trainer: str
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """Says that trainer and client are both installed."""
        return self.folder / ".client-installed"

    def required(self) -> Path:
        """The interpreter; skips the test, with the reason, where there is none."""
        if not self.stamp.is_file():
            pytest.skip(f"{self.trainer} is not installed in {self.folder.name} of the cache: {MAKE}")
        return self.python


TRL = Environment(trainer=f"TRL {TRL_VERSION}", folder=cache_dir() / f"venv-trl-{TRL_VERSION}")
VERL = Environment(trainer=f"verl {VERL_VERSION}", folder=cache_dir() / f"venv-verl-{VERL_VERSION}")


def say(words: str) -> None:
    """To whoever runs make."""
    sys.stderr.write(words + "\n")


def main() -> None:
    """Make what is missing."""
    if not TRL.stamp.is_file():
        trl_python(say)
        _install(TRL, CLIENT, constrained=True)
    if not VERL.stamp.is_file():
        say(f"installing {VERL.trainer} into {VERL.folder}: some minutes")
        argv = (sys.executable, "-m", "venv", str(VERL.folder))
        run_step(Step(title="creating the environment", argv=argv), say)
        # It wants an older transformers than the project does: no constraints.
        _install(VERL, (f"verl[verl-core]=={VERL_VERSION}", *CLIENT), constrained=False)


def _install(environment: Environment, packages: tuple[str, ...], *, constrained: bool) -> None:
    pip = (str(environment.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    limits = ("--constraint", str(ROOT / "constraints.txt")) if constrained else ()
    try:
        run_step(Step(title=f"installing {environment.trainer}", argv=(*pip, *limits, *packages), tries=3), say)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{environment.trainer} could not be installed: {error.stderr.strip()[-500:]}")
    environment.stamp.touch()


if __name__ == "__main__":
    main()
