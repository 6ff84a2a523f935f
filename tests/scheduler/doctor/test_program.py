"""What is installed, and what it should be."""

from pathlib import Path

import pytest

from scheduler.doctor import program
from scheduler.doctor.finding import Level
from scheduler.doctor.program import Gpu, SGLangInstalled

H100 = Gpu(name="NVIDIA H100", total_mib=81559, free_mib=81000)


def test_gpus_are_read_from_what_nvidia_smi_prints() -> None:
    assert program.read_gpus("NVIDIA H100, 81559, 81000\nNVIDIA H100, 81559, 81000\n") == (H100, H100)
    assert program.read_gpus("No devices were found\n") == ()


@pytest.mark.parametrize(
    ("torch", "gpus", "level"),
    [
        ("2.13.0+cpu", (), Level.OK),
        ("2.13.0", (H100,), Level.OK),
        ("2.13.0+cpu", (H100,), Level.WARNING),
        (None, (), Level.WARNING),
    ],
)
def test_torch_that_leaves_a_gpu_idle_is_warned_of(torch: str | None, gpus: tuple[Gpu, ...], level: Level) -> None:
    assert program.torch_finding(torch, gpus).level is level


@pytest.mark.parametrize(
    ("found", "has_servers", "level"),
    [
        (SGLangInstalled(python=Path("p"), version="0.5.23", torch="2"), False, Level.OK),
        (SGLangInstalled(python=Path("p"), version="0.5.21", torch="2"), False, Level.PROBLEM),
        ("not installed", False, Level.WARNING),
        ("not installed", True, Level.OK),
    ],
)
def test_sglang_is_needed_where_no_server_is_named(
    found: SGLangInstalled | str, has_servers: bool, level: Level
) -> None:
    assert program.sglang_finding(found, has_servers=has_servers).level is level


async def test_this_very_machine_is_told_about() -> None:
    found = await program.programs(has_servers=True)
    assert [finding.check for finding in found] == ["pilotcommit", "torch", "SGLang", "GPU"]
