"""Where a record comes from: command, commit, versions, machine.

Owns: asking git, the interpreters and the system. Never fails a run: what cannot be found out is called unknown.
"""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inference.interpreter import SGLANG_VERSION

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_OURS = ("scheduler", "learner", "inference", "benchmarks")
_RESULTS = ":!benchmarks/results"
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a record's header says of its making."""

    command: str
    commit: str
    versions: dict[str, str]
    cores: int


def origin(module: str) -> Origin:
    """Of this process, which runs a module of the benchmarks."""
    command = " ".join((f"python -m {module}", *sys.argv[1:]))
    return Origin(command=command, commit=_commit(), versions=_versions(), cores=len(os.sched_getaffinity(0)))


def _commit() -> str:
    commit = _git("rev-parse", "HEAD")
    differs = _git("status", "--porcelain", "--", *_OURS, _RESULTS) not in ("", _UNKNOWN)
    return f"{commit}+" if differs else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return _UNKNOWN
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    packages = {name: _version(name) for name in ("torch", "transformers", "pilotcommit")}
    return {"python": platform.python_version(), "sglang": SGLANG_VERSION, **packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _UNKNOWN
