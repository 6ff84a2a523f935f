"""A Docker engine: the one that is there, else Debian's, unpacked and started for as long as it is needed.

Owns: that engine's programs, its process and its data. Leaves this machine's firewall and routing alone: `iptables` is
installed because the names of containers are resolved through rules inside their own network namespaces.
Invariant: an engine that was started here is gone when the block ends, and so is what it kept, unless it is to be kept.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inference.interpreter import cache_dir

_PACKAGES = ("docker.io", "containerd", "runc")
_DEADLINE_S = 60.0
_ADDRESSES = ("--default-address-pool", "base=10.202.0.0/16,size=24")
"""Of its networks: not those that Docker takes by itself, which may be in use."""
_UNTOUCHED = ("--iptables=false", "--ip-masq=false", "--ip-forward=false")
"""The firewall and the routing of this machine are left as they are: containers are reached through Docker's proxy, and
builds use this machine's own network."""
_DEFAULT_BRIDGE = Path("/sys/class/net/docker0")
HOW = "install Docker and start it, or run this as root on a Debian system"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answers."""

    environment: Mapping[str, str]
    """Of whoever speaks to it."""
    started_here: bool

    def docker(self, *arguments: str, stdin: Path | None = None) -> str:
        """What `docker` prints; raises subprocess.CalledProcessError with what it says."""
        with (stdin or Path(os.devnull)).open("rb") as given:
            done = subprocess.run(
                ("docker", *arguments), env=self.environment, stdin=given, capture_output=True, check=True
            )
        return done.stdout.decode().strip()

    def has(self, image: str) -> bool:
        """Whether it has an image."""
        return bool(self.docker("images", "--quiet", image))


@contextmanager
def engine(say: Say, *, keep: bool) -> Iterator[Engine]:
    """An engine; raises RuntimeError where none is to be had. `keep`: leave the data of one that is started here."""
    found = Engine(environment=dict(os.environ), started_here=False)
    if shutil.which("docker") and _answers(found):
        yield found
        return
    if os.geteuid() != 0 or not shutil.which("apt-get") or sys.platform != "linux":
        raise RuntimeError(f"there is no Docker engine: {HOW}")
    folder = cache_dir() / "docker"
    programs = _unpacked(folder / "programs", say)
    with _started(programs, folder, say) as started:
        yield started
    if not keep:
        shutil.rmtree(folder / "data", ignore_errors=True)


def _answers(candidate: Engine) -> bool:
    try:
        candidate.docker("info")
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _unpacked(folder: Path, say: Say) -> Path:
    """Where the programs are."""
    if not folder.is_dir():
        say("unpacking Debian's Docker")
        parts = folder.with_suffix(".part")
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        _run("apt-get", "-qq", "update", cwd=parts)
        _run("apt-get", "-qq", "install", "-y", "--no-install-recommends", "iptables", cwd=parts)
        _run("apt-get", "-qq", "download", *_PACKAGES, cwd=parts)
        for package in parts.glob("*.deb"):
            _run("dpkg-deb", "--extract", str(package), str(parts), cwd=parts)
            package.unlink()
        parts.rename(folder)
    return folder


@contextmanager
def _started(programs: Path, folder: Path, say: Say) -> Iterator[Engine]:
    path = os.pathsep.join([str(programs / "usr/bin"), str(programs / "usr/sbin"), os.environ["PATH"]])
    socket = f"unix://{folder / 'docker.sock'}"
    environment = os.environ | {"PATH": path, "DOCKER_HOST": socket, "DOCKER_BUILDKIT": "1"}
    state = ("--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "docker.pid")
    say(f"starting a Docker engine; its log is {folder / 'dockerd.log'}")
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            ("dockerd", "--host", socket, *map(str, state), *_UNTOUCHED, *_bridge(), *_ADDRESSES),
            env=environment,
            stdout=log,
            stderr=log,
            # Else Ctrl-C would reach it too, and it would be gone before the deployment is removed.
            start_new_session=True,
        )
        try:
            found = Engine(environment=environment, started_here=True)
            deadline = time.monotonic() + _DEADLINE_S
            while not _answers(found):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the Docker engine does not start: see {folder / 'dockerd.log'}")
                time.sleep(0.2)
            yield found
        finally:
            process.terminate()
            process.wait()


def _bridge() -> tuple[str, ...]:
    """The default network, which nothing here uses, is not made. But told so, Docker removes another engine's."""
    return () if _DEFAULT_BRIDGE.exists() else ("--bridge=none",)


def _run(*argv: str, cwd: Path) -> None:
    subprocess.run(argv, cwd=cwd, check=True, capture_output=True)
