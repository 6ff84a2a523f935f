"""Gets Prometheus for the tests: `python -m deploy.prometheus.install`.

Owns: where its two programs are, and unpacking Debian's package where nobody installed them. Installs nothing into the
system and starts nothing: a package that is installed would start a service. Invariant: the folder is there exactly if
it is whole.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from inference.interpreter import cache_dir

Run = Callable[[tuple[str, ...], Path], None]
"""Execute a command in a folder; raises subprocess.CalledProcessError."""

HOW = (
    "install Prometheus 2.42 or newer, so that `prometheus` and `promtool` are on the PATH: "
    "https://prometheus.io/download, `apt install prometheus` or `brew install prometheus`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """Its two programs."""

    server: Path
    promtool: Path


def unpacked_dir() -> Path:
    """Where Debian's package is unpacked."""
    return cache_dir() / "prometheus"


def find(path: str | None = None, unpacked: Path | None = None) -> Prometheus | None:
    """Prometheus on the PATH, else the one that was unpacked; None if there is neither."""
    for folder in (path, str((unpacked or unpacked_dir()) / "usr" / "bin")):
        server, promtool = shutil.which("prometheus", path=folder), shutil.which("promtool", path=folder)
        if server and promtool:
            return Prometheus(server=Path(server), promtool=Path(promtool))
    return None


def unpack(folder: Path, run: Run) -> None:
    """Download Debian's package and unpack it into `folder`; raises subprocess.CalledProcessError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return
        with TemporaryDirectory(dir=folder.parent) as temporary:
            where = Path(temporary)
            _download(where, run)
            (package,) = where.glob("prometheus_*.deb")
            run(("dpkg-deb", "--extract", str(package), str(where / "whole")), where)
            (where / "whole").rename(folder)


def _download(where: Path, run: Run) -> None:
    try:
        run(("apt-get", "download", "prometheus"), where)
    except subprocess.CalledProcessError:
        # A new machine knows no packages yet.
        run(("apt-get", "update"), where)
        run(("apt-get", "download", "prometheus"), where)


def _execute(argv: tuple[str, ...], where: Path) -> None:
    subprocess.run(argv, cwd=where, check=True, capture_output=True, text=True, timeout=300)


def main() -> int:
    """Say where Prometheus is, after getting it if need be. That it cannot be had fails nothing: tests are skipped."""
    found = find()
    try:
        if found is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
            unpack(unpacked_dir(), _execute)
            found = find()
        why = ""
    except (subprocess.SubprocessError, OSError) as exc:
        why = f" ({getattr(exc, 'stderr', None) or exc})"
    told = (
        f"Prometheus is {found.server}"
        if found
        else f"no Prometheus{why}: its tests will be skipped. To run them, {HOW}"
    )
    sys.stdout.write(f"{told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
