"""The distribution, built.

Owns: asking the build backend for it, and reading what it made. Never installs. Invariant: it is built with the
backend of this environment, so that no network is needed.
"""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("scheduler", "learner", "inference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A wheel and a source distribution of the same sources."""

    wheel: Path
    sdist: Path

    @property
    def digest(self) -> str:
        """Of the wheel: the same sources give the same."""
        return sha256(self.wheel.read_bytes()).hexdigest()


def build(source: Path, out: Path) -> Built:
    """Build a source tree; raises RuntimeError with what the backend said."""
    done = subprocess.run(
        (sys.executable, "-m", "hatchling", "build", "-d", str(out)),
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{source} cannot be built:\n{done.stdout}{done.stderr}")
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return Built(wheel=wheel, sdist=sdist)


def contents(wheel: Path) -> Mapping[str, bytes]:
    """Every file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: Path) -> Message:
    """Its core metadata."""
    [content] = [content for name, content in contents(wheel).items() if name.endswith(".dist-info/METADATA")]
    return BytesParser().parsebytes(content)


def unpacked(sdist: Path, folder: Path) -> Path:
    """A source distribution as its reader has it; returns the folder of the sources."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [sources] = folder.iterdir()
    return sources
