import subprocess
import sys
from pathlib import Path

import pytest

from inference.install_sglang import Step, install, run_step, stamp, steps
from inference.interpreter import SGLANG_VERSION, Device, stamp_of


@pytest.mark.parametrize("device", list(Device))
def test_a_complete_installation_is_left_alone(tmp_path: Path, device: Device) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    stamp_of(venv).write_text(stamp(device))
    said: list[str] = []
    install(venv, device, said.append)
    assert said == [f"SGLang {SGLANG_VERSION} is installed in {venv}"]
    assert list(venv.iterdir()) == [stamp_of(venv)]


def test_each_device_has_an_installation_of_its_own() -> None:
    assert stamp(Device.CPU) != stamp(Device.CUDA)


def test_a_cpu_gets_sglang_without_its_dependencies_and_a_gpu_gets_all_of_it(tmp_path: Path) -> None:
    on_cpu = [step.argv for step in steps(tmp_path, Device.CPU)]
    on_gpu = [step.argv for step in steps(tmp_path, Device.CUDA)]
    assert ["--no-deps" in argv for argv in on_cpu] == [False, False, True, False]
    assert not any("--no-deps" in argv for argv in on_gpu)


@pytest.mark.parametrize("device", list(Device))
def test_every_requirements_file_pins_sglang_and_names_no_registry(tmp_path: Path, device: Device) -> None:
    files = [Path(step.argv[-1]).read_text() for step in steps(tmp_path, device) if "-r" in step.argv]
    lines = [line for text in files for line in text.splitlines() if line and not line.startswith("#")]
    assert f"sglang=={SGLANG_VERSION}" in lines
    assert all("==" in line and "://" not in line for line in lines)


def test_a_step_that_fails_is_tried_again_and_then_says_what_it_said(tmp_path: Path) -> None:
    script = f"open({str(tmp_path / 'tries')!r}, 'a').write('x'); raise SystemExit('no network')"
    said: list[str] = []
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_step(Step(title="installing", argv=(sys.executable, "-c", script), tries=3), said.append, pause_s=0.0)
    assert "no network" in failed.value.stderr
    assert (tmp_path / "tries").read_text() == "xxx"
    assert said == ["  installing failed, trying again"] * 2
