"""A scheduler that runs already: of this version, at the same time, ready, and taking our token."""

import asyncio
import dataclasses
from importlib.metadata import version
from pathlib import Path

import pytest

from scheduler.api.app import create_app
from scheduler.core.tokens import Scope
from scheduler.doctor.finding import Level
from scheduler.doctor.patient import Patient
from scheduler.doctor.service import Answered, Health, findings, service
from scheduler.service import Service
from scheduler.token_file import TokenFile
from tests.scheduler.served import listening, served

WELL = Answered(health=Health(version=version("pilotcommit"), now=0.0), why_not_ready="", skew_s=0.1, refused="")


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, Level.OK, "ready"),
        ({"why_not_ready": "standby: run r is held by another scheduler"}, Level.WARNING, "standby"),
        ({"why_not_ready": "Redis does not answer"}, Level.PROBLEM, "not ready"),
        ({"health": Health(version="0.0.1")}, Level.WARNING, "runs 0.0.1"),
        ({"health": Health()}, Level.WARNING, "an unknown version"),
        ({"skew_s": 75.0}, Level.WARNING, "75 s ahead"),
        ({"skew_s": -75.0}, Level.WARNING, "75 s behind"),
        ({"refused": "no such token"}, Level.PROBLEM, "no such token"),
    ],
)
def test_what_a_scheduler_answers_is_judged(change: dict[str, object], level: Level, words: str) -> None:
    [found] = findings("http://s", dataclasses.replace(WELL, **change), has_token=True)  # type: ignore[arg-type]
    assert found.level is level
    assert words in found.said


async def test_a_scheduler_at_work_is_in_order(service: Service) -> None:
    async with served(service) as url:
        [found] = await asyncio.to_thread(examine, Patient.of({}, url=url))
    assert (found.level, "asks for no token" in found.said) == (Level.OK, True)


async def test_a_token_that_is_not_taken_is_a_problem(service: Service, tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.ndjson")
    token = tokens.create("me", [Scope.READ])
    async with listening(create_app(service, tokens=tokens)) as url:
        [refused] = await asyncio.to_thread(examine, Patient.of({"PILOTCOMMIT_TOKEN": "wrong"}, url=url))
        [taken] = await asyncio.to_thread(examine, Patient.of({"PILOTCOMMIT_TOKEN": token}, url=url))
    assert (refused.level, taken.level) == (Level.PROBLEM, Level.OK)
    assert "PILOTCOMMIT_TOKEN" in refused.todo


def test_nobody_there_is_no_problem_before_the_first_start() -> None:
    [found] = examine(Patient.of({}, url="http://127.0.0.1:1"))
    assert found.level is Level.WARNING


examine = service
