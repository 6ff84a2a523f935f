"""An installation of the wheel: a virtual environment of its own, and an empty folder to run it from.

Owns: making it, and what its commands see. Never knows what is checked. Invariants: nothing of the repository, of this
environment or of the caller's variables is on a command's path; one that is complete for this wheel is used again.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.distribution.built import ROOT, Built

_STAMP = ".installed"
_INSIDE = Path(__file__).parent / "inside"
_CONSTRAINTS = ROOT / "constraints.txt"
_LONGEST_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One virtual environment with the wheel in it."""

    folder: Path

    @property
    def venv(self) -> Path:
        """Where its interpreter is."""
        return self.folder / "venv"

    @property
    def work(self) -> Path:
        """Where its commands run."""
        return self.folder / "work"

    @property
    def environment(self) -> dict[str, str]:
        """Of its commands: its programs, an empty home, and nothing else."""
        path = os.pathsep.join((str(self.venv / "bin"), "/usr/local/bin", "/usr/bin", "/bin"))
        threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        return {"PATH": path, "HOME": str(self.folder / "home"), "LANG": "C.UTF-8", "COLUMNS": "200", **threads}

    def run(self, *argv: str, code: int = 0, variables: Mapping[str, str] | None = None) -> str:
        """Run one of its programs; what it printed. Raises RuntimeError if it ends with another code."""
        done = subprocess.run(
            (str(self.venv / "bin" / argv[0]), *argv[1:]),
            cwd=self.work,
            env=self.environment | dict(variables or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_S,
        )
        if done.returncode != code:
            raise RuntimeError(
                f"{' '.join(argv)} ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout + done.stderr

    def program(self, name: str) -> str:
        """A program of `inside`, put into the folder that commands run in; its name there."""
        shutil.copy(_INSIDE / name, self.work)
        return name


def installed(built: Built, folder: Path, extra: str) -> Installation:
    """An installation with an extra, or with none where it is empty; made anew unless it is there for this wheel."""
    installation = Installation(folder=folder)
    stamp = folder / _STAMP
    if not stamp.is_file() or stamp.read_text() != _identity(built, extra):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run((sys.executable, "-m", "venv", str(installation.venv)), check=True)
        wanted = f"pilotcommit[{extra}] @ {built.wheel.as_uri()}" if extra else str(built.wheel)
        _pip(installation, wanted)
        stamp.write_text(_identity(built, extra))
    for empty in (installation.work, folder / "home"):
        shutil.rmtree(empty, ignore_errors=True)
        empty.mkdir()
    return installation


def add(installation: Installation, *wanted: str) -> None:
    """Something of a user's beside it."""
    _pip(installation, *wanted)


def _identity(built: Built, extra: str) -> str:
    return f"{extra} {built.digest} {sha256(_CONSTRAINTS.read_bytes()).hexdigest()} {sys.version}"


def _pip(installation: Installation, *wanted: str) -> None:
    pip = (str(installation.venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        (*pip, "--constraint", str(_CONSTRAINTS), *wanted),
        cwd=installation.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(wanted)} cannot be installed:\n{done.stdout}{done.stderr}")
