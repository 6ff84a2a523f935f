"""Installs SGLang into a virtual environment of its own: `python -m inference.install_sglang`.

Owns: that environment and its stamp. Never touches the environment it runs in. Invariant: the stamp is there exactly
if the last step succeeded for exactly these requirements, this device and this Python; without it everything is done
again, which is safe however an earlier try ended.
"""

import fcntl
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inference.interpreter import SGLANG_VERSION, Device, detect_device, sglang_venv, stamp_of

_HERE = Path(__file__).parent
_REQUIREMENTS = {
    Device.CPU: ("requirements-sglang-cpu.txt", "requirements-sglang-cpu-nodeps.txt"),
    Device.CUDA: ("requirements-sglang-cuda.txt",),
}
_TRIES = 3
_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command, announced by one line."""

    title: str
    argv: tuple[str, ...]
    tries: int = 1
    """More than one where a network may fail."""


def steps(venv: Path, device: Device) -> Iterator[Step]:
    """What has to be done, in order."""
    python = str(venv / "bin" / "python")
    yield Step(title="creating the environment", argv=(sys.executable, "-m", "venv", str(venv)))
    for name in _REQUIREMENTS[device]:
        alone = ("--no-deps",) if "nodeps" in name else ()
        pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--progress-bar", "off")
        yield Step(title=f"installing {name}", argv=(*pip, *alone, "-r", str(_HERE / name)), tries=_TRIES)
    check = f"from importlib.metadata import version; import torch; assert version('sglang') == '{SGLANG_VERSION}'"
    yield Step(title="checking", argv=(python, "-c", check))


def stamp(device: Device) -> str:
    """Identity of a complete installation."""
    digest = hashlib.sha256(f"{device.value} {sys.version}".encode())
    for name in _REQUIREMENTS[device]:
        digest.update((_HERE / name).read_bytes())
    return digest.hexdigest()


def install(venv: Path, device: Device, say: Callable[[str], None]) -> None:
    """Make `venv` hold SGLang; does nothing if it does. Raises subprocess.CalledProcessError with what pip said."""
    venv.parent.mkdir(parents=True, exist_ok=True)
    with _alone(venv):
        done = stamp_of(venv)
        if done.is_file() and done.read_text() == stamp(device):
            say(f"SGLang {SGLANG_VERSION} is installed in {venv}")
            return
        done.unlink(missing_ok=True)
        say(f"installing SGLang {SGLANG_VERSION} for {device.value} into {venv}: some minutes, some gigabytes")
        for step in steps(venv, device):
            started = time.monotonic()
            run_step(step, say)
            say(f"  {step.title}: {time.monotonic() - started:.0f} s")
        done.write_text(stamp(device))


def run_step(step: Step, say: Callable[[str], None], *, pause_s: float = _PAUSE_S) -> None:
    """Run a step, again if it may be; raises subprocess.CalledProcessError with what its last try said."""
    for attempt in range(1, step.tries + 1):
        result = subprocess.run(step.argv, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return
        if attempt < step.tries:
            say(f"  {step.title} failed, trying again")
            time.sleep(pause_s * attempt)
    raise subprocess.CalledProcessError(result.returncode, step.argv, result.stdout, result.stderr)


@contextmanager
def _alone(venv: Path) -> Iterator[None]:
    """Keep a second installer waiting until the first is through."""
    with venv.with_name(f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Install for the device of this machine; the exit status says whether it worked."""

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        install(sglang_venv(), detect_device(), say)
    except subprocess.CalledProcessError as exc:
        say(f"failed: {' '.join(exc.cmd)}\n{exc.stdout}{exc.stderr}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
