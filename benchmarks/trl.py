"""TRL, the peer of the learner's benchmarks, in an environment of its own.

Owns: that environment. Never imports TRL here. Invariant: it has the torch and transformers of constraints.txt, so that
what is compared is the training code and nothing below it.
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.origin import ROOT
from benchmarks.session import Say
from inference.install_sglang import Step, run_step
from inference.interpreter import cache_dir
from scheduler.core.errors import InvalidInput

TRL_VERSION = "1.16.0"


def trl_python(say: Say) -> Path:
    """The interpreter that has TRL, installed at the first call; raises InvalidInput with what pip said."""
    venv = cache_dir() / f"venv-trl-{TRL_VERSION}"
    python, done = venv / "bin" / "python", venv / ".installed"
    if done.is_file():
        return python
    say(f"installing TRL {TRL_VERSION} into {venv}: some minutes")
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    constraints = ("--constraint", str(ROOT / "constraints.txt"))
    wanted = (f"trl=={TRL_VERSION}", "torch==2.13.0", "transformers", "accelerate")
    try:
        run_step(Step(title="creating the environment", argv=(sys.executable, "-m", "venv", str(venv))), say)
        run_step(Step(title="installing TRL", argv=(*pip, *constraints, *wanted), tries=3), say)
    except subprocess.CalledProcessError as error:
        raise InvalidInput(f"TRL could not be installed: {error.stderr.strip()[-500:]}") from error
    done.touch()
    return python
