"""What is installed: Python, pilotcommit, torch for the learner, SGLang for servers.

Owns: finding their versions without importing them, and what they should be. Invariant: nothing heavy is imported, and
nothing installed.
"""

import asyncio
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inference.interpreter import OLDEST_SGLANG_VERSION, Device, detect_device, sglang_python
from scheduler.core.errors import InvalidInput
from scheduler.doctor.finding import Finding, ok, problem, warning
from scheduler.fleet.fitness import is_older_than_tested

_ASK = "from importlib.metadata import version; print(version('sglang'), version('torch'))"
_ASK_S = 20.0
_INSTALL_SGLANG = "run `make setup-sglang`, or name the interpreter that has it in PILOTCOMMIT_SGLANG_PYTHON"
_ONLY_FOR_SERVERS = "; servers that run elsewhere do not need it here"


@dataclass(frozen=True, slots=True, kw_only=True)
class SGLangInstalled:
    """SGLang's environment on this machine."""

    python: Path
    version: str
    torch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU, as nvidia-smi tells of it."""

    name: str
    total_mib: int
    free_mib: int


async def programs(*, has_servers: bool) -> list[Finding]:
    """Everything installed, and the GPU it would use; `has_servers` is whether servers are named."""
    installed, gpus = await asyncio.gather(asyncio.to_thread(_sglang), asyncio.to_thread(_gpus))
    return [
        python_finding(platform.python_version(), _version("pilotcommit")),
        torch_finding(_version("torch"), gpus),
        sglang_finding(installed, has_servers=has_servers),
        gpu_finding(gpus),
    ]


def python_finding(python: str, ours: str | None) -> Finding:
    """The interpreter and the distribution that this command is of."""
    said = f"Python {python}, pilotcommit {ours or 'not installed as a distribution'}"
    if ours is None:
        return warning("pilotcommit", said, "install it (`make setup`): versions cannot be compared otherwise")
    return ok("pilotcommit", said)


def torch_finding(torch: str | None, gpus: tuple[Gpu, ...]) -> Finding:
    """The learner's torch."""
    if torch is None:
        return warning(
            "torch",
            "not installed: no learner starts here",
            "pip install 'pilotcommit[learner]', unless it is elsewhere",
        )
    if gpus and "+cpu" in torch:
        return warning(
            "torch",
            f"{torch} computes on the processor only, and there is a GPU",
            "install torch with CUDA to train on it",
        )
    return ok("torch", torch)


def sglang_finding(found: SGLangInstalled | str, *, has_servers: bool) -> Finding:
    """SGLang on this machine, or why there is none."""
    if isinstance(found, str):
        if has_servers:
            return ok("SGLang", f"not on this machine{_ONLY_FOR_SERVERS}")
        return warning("SGLang", f"no server can be started here: {found}", f"{_INSTALL_SGLANG}{_ONLY_FOR_SERVERS}")
    said = f"{found.version}, with torch {found.torch}, in {found.python}"
    if is_older_than_tested(found.version):
        return problem("SGLang", said, f"{OLDEST_SGLANG_VERSION} is the oldest that is supported: {_INSTALL_SGLANG}")
    return ok("SGLang", said)


def gpu_finding(gpus: tuple[Gpu, ...]) -> Finding:
    """The GPUs of this machine; none is fine."""
    if not gpus:
        return ok("GPU", "none here: servers and learners would compute on the processor, which suits small models")
    return ok("GPU", ", ".join(f"{gpu.name} ({gpu.free_mib:,} of {gpu.total_mib:,} MiB free)" for gpu in gpus))


def read_gpus(answer: str) -> tuple[Gpu, ...]:
    """The answer of nvidia-smi as rows of name, total and free MiB."""
    rows = (line.rsplit(",", 2) for line in answer.splitlines() if line.count(",") >= 2)
    return tuple(
        Gpu(name=name.strip(), total_mib=int(total), free_mib=int(free))
        for name, total, free in rows
        if total.strip().isdigit() and free.strip().isdigit()
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _sglang() -> SGLangInstalled | str:
    try:
        python = sglang_python()
        answer = subprocess.run([str(python), "-c", _ASK], check=True, capture_output=True, text=True, timeout=_ASK_S)
    except InvalidInput as error:
        return str(error)
    except (OSError, subprocess.SubprocessError) as error:
        return f"its interpreter does not say its version: {error}"
    sglang, torch = answer.stdout.split()
    return SGLangInstalled(python=python, version=sglang, torch=torch)


def _gpus() -> tuple[Gpu, ...]:
    if detect_device() is Device.CPU:
        return ()
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        return read_gpus(subprocess.run(query, check=True, capture_output=True, text=True, timeout=_ASK_S).stdout)
    except (OSError, subprocess.SubprocessError):
        return ()
