"""How an SGLang server is started: the command line and the environment.

Owns: the flags of both kinds of machine, each of which is there because leaving it out was measured to hurt. Never
starts anything (inference.process does). Invariant: pure; the same spec gives the same command.
"""

from dataclasses import dataclass
from pathlib import Path

from inference.interpreter import Device

CPU_FOLDER = Path(__file__).parent / "cpu"
UNCONFIRMED = "unconfirmed"
"""The label of weights that nobody has pushed: tokens made with them are never taken for a run's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """One server to be started."""

    model_path: Path
    port: int
    host: str = "127.0.0.1"
    """Keep it private: whoever reaches the port can replace the weights."""
    device: Device = Device.CPU
    dtype: str = "bfloat16"
    """`float32` where log-probs must agree with a learner's; bfloat16 is faster."""
    weight_version: str = UNCONFIRMED
    max_running: int = 256
    """Requests decoded together."""
    max_queued: int | None = None
    """Requests that may wait before new ones get a 503; without it any number may."""
    max_total_tokens: int = 65536
    """Size of the KV cache on a CPU, in tokens; SGLang's own choice is 70 % of the memory."""
    memory_rate: float = 0.8
    """Share of a GPU's memory for weights and KV cache."""
    tensor_parallel: int = 1
    """GPUs that share the model."""
    api_key: str | None = None
    admin_api_key: str | None = None

    @property
    def base_url(self) -> str:
        """Where clients find it."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchCommand:
    """What to execute."""

    argv: tuple[str, ...]
    env: dict[str, str]
    """To be laid over the parent's environment."""


def launch_command(spec: ServerSpec, python: Path) -> LaunchCommand:
    """The command that starts `spec` with SGLang's interpreter `python`."""
    return _on_cpu(spec, python) if spec.device is Device.CPU else _on_gpu(spec, python)


def _on_cpu(spec: ServerSpec, python: Path) -> LaunchCommand:
    device = ("--device", "cpu", "--attention-backend", "torch_native")
    cache = ("--max-total-tokens", str(spec.max_total_tokens))
    # Else an idle scheduler burns a core and decoding is 3 to 80 times slower.
    idle = ("--disable-overlap-schedule", "--sleep-on-idle")
    env = {
        "SGLANG_USE_CPU_ENGINE": "1",
        "PYTHONPATH": str(CPU_FOLDER / "shim"),
        # More threads than one spin against every other process on the machine.
        "OMP_NUM_THREADS": "1",
        **_COMMON_ENV,
    }
    launcher = str(CPU_FOLDER / "launch_cpu.py")
    return LaunchCommand(argv=(str(python), launcher, *_common(spec), *device, *cache, *idle), env=env)


def _on_gpu(spec: ServerSpec, python: Path) -> LaunchCommand:
    device = ("--tp", str(spec.tensor_parallel), "--mem-fraction-static", str(spec.memory_rate))
    launcher = ("-m", "sglang.launch_server")
    return LaunchCommand(argv=(str(python), *launcher, *_common(spec), *device), env=dict(_COMMON_ENV))


_COMMON_ENV = {
    "HF_HUB_OFFLINE": "1",
    # Else a SIGTERM takes a minute: it waits for core dumps.
    "SGLANG_CUDA_COREDUMP_BEFORE_CRASH_WAIT_SECS": "0",
}


def _common(spec: ServerSpec) -> tuple[str, ...]:
    argv = ["--model-path", str(spec.model_path), "--dtype", spec.dtype]
    argv += ["--host", spec.host, "--port", str(spec.port)]
    argv += ["--weight-version", spec.weight_version, "--enable-metrics"]
    argv += ["--max-running-requests", str(spec.max_running)]
    if spec.max_queued is not None:
        argv += ["--max-queued-requests", str(spec.max_queued)]
    if spec.api_key is not None:
        argv += ["--api-key", spec.api_key]
    if spec.admin_api_key is not None:
        argv += ["--admin-api-key", spec.admin_api_key]
    return tuple(argv)
