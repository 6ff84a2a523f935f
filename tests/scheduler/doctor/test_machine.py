"""Ports, threads, disks and rewards of a machine."""

import os
import socket
import sys
from pathlib import Path

import pytest

from scheduler.doctor import machine
from scheduler.doctor.finding import Level
from scheduler.doctor.machine import Listener
from scheduler.rewards.isolation import Confinement, IsolationMode

GIB = 1 << 30


def test_who_holds_a_port_is_found_and_named() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        found = machine.listener(port)
        assert found is not None
        assert found.pid == os.getpid()
        said = machine.port_finding("the API", "PILOTCOMMIT_PORT", port, found)
        assert (said.level, str(os.getpid()) in said.said) == (Level.PROBLEM, True)
        assert "PILOTCOMMIT_PORT" in said.todo
    assert machine.listener(port) is None
    assert machine.port_finding("the API", "PILOTCOMMIT_PORT", port, None).level is Level.OK


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (Listener(pid=7, command="python -m scheduler.main"), Level.OK, "which is ours"),
        (Listener(pid=7, command="nginx: master"), Level.PROBLEM, "process 7 (nginx: master)"),
        (Listener(pid=None, command=""), Level.PROBLEM, "a process of another user"),
    ],
)
def test_a_port_of_our_own_process_is_in_order(found: Listener, level: Level, words: str) -> None:
    said = machine.port_finding("the API", "PILOTCOMMIT_PORT", 8400, found)
    assert said.level is level
    assert words in said.said


@pytest.mark.parametrize(
    ("given", "cores", "has_gpu", "level"),
    [
        ({}, 2, False, Level.WARNING),
        ({"OMP_NUM_THREADS": "8"}, 8, False, Level.WARNING),
        ({"OMP_NUM_THREADS": "1"}, 2, False, Level.OK),
        ({"OMP_NUM_THREADS": "4"}, 8, False, Level.OK),
        ({}, 64, False, Level.OK),
        ({}, 2, True, Level.OK),
    ],
)
def test_threads_that_would_fight_over_few_cores_are_warned_of(
    given: dict[str, str], cores: int, has_gpu: bool, level: Level
) -> None:
    assert machine.threads_finding(given, cores, has_gpu=has_gpu).level is level


@pytest.mark.parametrize(
    ("free", "needed", "level"),
    [
        (100 * GIB, 10 * GIB, Level.OK),
        (15 * GIB, 10 * GIB, Level.WARNING),
        (9 * GIB, 10 * GIB, Level.PROBLEM),
        (GIB, 0, Level.WARNING),
        (100 << 20, 0, Level.PROBLEM),
    ],
)
def test_a_disk_is_held_against_what_will_be_written_there(free: int, needed: int, level: Level) -> None:
    assert machine.disk_finding("weights", Path("/w"), free, needed).level is level


def test_the_room_of_a_folder_to_be_made_is_that_of_its_parent(tmp_path: Path) -> None:
    assert machine.free_bytes(tmp_path / "not" / "yet") == pytest.approx(machine.free_bytes(tmp_path), rel=0.01)


async def test_rewards_that_are_not_shut_in_are_warned_of() -> None:
    said = await machine.isolation(Confinement(mode=IsolationMode.OFF))
    assert said.level is Level.WARNING


@pytest.mark.skipif(sys.platform != "linux", reason="rewards are shut in by means that only Linux has")
async def test_what_shuts_rewards_in_here_is_told() -> None:
    said = await machine.isolation(Confinement())
    assert "shut in by" in said.said
    assert "limits" in said.said
