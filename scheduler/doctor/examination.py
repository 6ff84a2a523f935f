"""All checks, at once and each within its time.

Owns: which checks there are, in which order they are told, and their deadlines. Invariant: every check says something,
whatever happens to it.
"""

import asyncio
from collections.abc import Awaitable, Mapping

from inference.interpreter import Device, detect_device
from scheduler.doctor import machine
from scheduler.doctor.finding import Finding, warning
from scheduler.doctor.folders import folders
from scheduler.doctor.patient import Patient, settings_finding
from scheduler.doctor.program import programs
from scheduler.doctor.redis import redis
from scheduler.doctor.servers import servers
from scheduler.doctor.service import service
from scheduler.doctor.tokens import tokens

DEADLINE_S = 15.0
_METRICS_PORT = 8401


async def examine(patient: Patient, environ: Mapping[str, str], *, deadline_s: float = DEADLINE_S) -> list[Finding]:
    """Every finding, in the order in which a person would go through them.

    Consumes: nothing. Produces: findings. Waits for: the slowest check, `deadline_s` at most.
    """
    settings = patient.settings
    checks: dict[str, Awaitable[list[Finding]]] = {
        "programs": programs(has_servers=bool(settings.servers)),
        "machine": asyncio.to_thread(_machine, patient, environ),
        "rewards": _one(machine.isolation(settings.confinement)),
        "Redis": redis(settings.redis_url),
        "servers": servers(patient),
        "folders": asyncio.to_thread(folders, patient),
        "tokens": asyncio.to_thread(tokens, patient),
        "scheduler": asyncio.to_thread(service, patient),
    }
    found = await asyncio.gather(*(_in_time(name, check, deadline_s) for name, check in checks.items()))
    return [settings_finding(patient), *(finding for findings in found for finding in findings)]


def _machine(patient: Patient, environ: Mapping[str, str]) -> list[Finding]:
    port = patient.settings.port
    ports = [("the scheduler's API", "PILOTCOMMIT_PORT", port)]
    if port != _METRICS_PORT:
        ports.append(("the learner's metrics", "PILOTCOMMIT_LEARNER_METRICS_PORT", _METRICS_PORT))
    return [
        *(machine.port_finding(what, name, at, machine.listener(at)) for what, name, at in ports),
        machine.threads_finding(environ, machine.cores(), has_gpu=detect_device() is Device.CUDA),
    ]


async def _one(check: Awaitable[Finding]) -> list[Finding]:
    return [await check]


async def _in_time(name: str, check: Awaitable[list[Finding]], deadline_s: float) -> list[Finding]:
    try:
        async with asyncio.timeout(deadline_s):
            return await check
    except TimeoutError:
        todo = "see whether the machine is overloaded, and ask again"
        return [warning(name, f"no answer within {deadline_s:g} s", todo)]
