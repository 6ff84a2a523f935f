"""Where SGLang's own Python is.

Owns: the place and the stamp of SGLang's virtual environment. Never installs (inference.install_sglang does), imports
nothing but the standard library and the core. Invariant: a path handed out belongs to a finished installation, or was
named by the user.

SGLang lives apart because its dependencies contradict ours: its torchvision breaks transformers in a learner.
"""

import os
import subprocess
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from scheduler.core.errors import InvalidInput

SGLANG_VERSION = "0.5.23"
"""The one that is installed, and that the contract suite runs against."""
OLDEST_SGLANG_VERSION = "0.5.22"
"""The oldest that passes the contract suite; what an older one does otherwise is in docs/reliability.md."""
PYTHON_VARIABLE = "PILOTCOMMIT_SGLANG_PYTHON"
CACHE_VARIABLE = "PILOTCOMMIT_CACHE"


class Device(StrEnum):
    """What a server computes on."""

    CUDA = "cuda"
    """One or more NVIDIA GPUs."""
    CPU = "cpu"
    """The processor, through SGLang's CPU engine and two import shims."""


def detect_device() -> Device:
    """CUDA where nvidia-smi finds a GPU, else CPU."""
    try:
        subprocess.run(["nvidia-smi", "-L"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return Device.CPU
    return Device.CUDA


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """What is made once a machine: $PILOTCOMMIT_CACHE, else $XDG_CACHE_HOME/pilotcommit, else ~/.cache/pilotcommit."""
    if environ.get(CACHE_VARIABLE):
        return Path(environ[CACHE_VARIABLE])
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"]) / "pilotcommit"
    return Path.home() / ".cache" / "pilotcommit"


def sglang_venv(environ: Mapping[str, str] = os.environ) -> Path:
    """Where `make setup-sglang` puts SGLang."""
    return cache_dir(environ) / f"venv-sglang-{SGLANG_VERSION}"


def stamp_of(venv: Path) -> Path:
    """The file that says that the installation in `venv` is complete, and of what."""
    return venv / ".complete"


def sglang_python(environ: Mapping[str, str] = os.environ) -> Path:
    """SGLang's interpreter: the one the user names, else that of a complete installation in the cache.

    Raises InvalidInput if there is none.
    """
    named = environ.get(PYTHON_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise InvalidInput(f"{PYTHON_VARIABLE} names {named}, which does not exist", field=PYTHON_VARIABLE)
        return Path(named)
    venv = sglang_venv(environ)
    if not stamp_of(venv).is_file():
        raise InvalidInput(
            f"SGLang {SGLANG_VERSION} is not installed in {venv}: run `make setup-sglang`, or set {PYTHON_VARIABLE} to "
            "the interpreter of an environment that has it",
            field=PYTHON_VARIABLE,
        )
    return venv / "bin" / "python"
