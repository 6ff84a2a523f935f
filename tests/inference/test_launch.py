from pathlib import Path

import pytest

from inference.interpreter import Device
from inference.launch import CPU_FOLDER, LaunchCommand, ServerSpec, launch_command

PYTHON = Path("/venv/bin/python")


def command(**changes: object) -> LaunchCommand:
    fields: dict[str, object] = {"model_path": Path("/models/m"), "port": 3001}
    return launch_command(ServerSpec(**(fields | changes)), PYTHON)  # type: ignore[arg-type]


def option(argv: tuple[str, ...], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_a_cpu_server_has_its_shims_one_thread_and_a_bounded_cache() -> None:
    cpu = command()
    assert cpu.argv[:2] == (str(PYTHON), str(CPU_FOLDER / "launch_cpu.py"))
    assert cpu.env["PYTHONPATH"] == str(CPU_FOLDER / "shim")
    assert (cpu.env["OMP_NUM_THREADS"], cpu.env["SGLANG_USE_CPU_ENGINE"]) == ("1", "1")
    assert option(cpu.argv, "--max-total-tokens") == "65536"
    assert {"--disable-overlap-schedule", "--sleep-on-idle"} <= set(cpu.argv)


def test_the_shims_are_where_the_command_looks_for_them() -> None:
    assert (CPU_FOLDER / "launch_cpu.py").is_file()
    assert (CPU_FOLDER / "shim" / "sgl_kernel" / "__init__.py").is_file()


def test_a_gpu_server_has_nothing_of_the_cpus() -> None:
    gpu = command(device=Device.CUDA, tensor_parallel=2)
    assert gpu.argv[:3] == (str(PYTHON), "-m", "sglang.launch_server")
    assert option(gpu.argv, "--tp") == "2"
    assert "--device" not in gpu.argv
    assert "PYTHONPATH" not in gpu.env


@pytest.mark.parametrize("device", list(Device))
def test_weights_that_nobody_pushed_have_a_label_that_is_no_runs(device: Device) -> None:
    assert option(command(device=device).argv, "--weight-version") == "unconfirmed"


@pytest.mark.parametrize("device", list(Device))
def test_what_is_not_asked_for_is_left_to_the_server(device: Device) -> None:
    plain = command(device=device).argv
    assert not {"--api-key", "--admin-api-key", "--max-queued-requests"} & set(plain)
    full = command(device=device, api_key="k", admin_api_key="a", max_queued=9).argv
    assert [option(full, name) for name in ("--api-key", "--admin-api-key", "--max-queued-requests")] == ["k", "a", "9"]
