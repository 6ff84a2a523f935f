"""What the engine adds to the servers' own time.

Owns: the order of measurements and the figures. Invariants: peer and engine are measured in one run, against the same
server process; what the servers can do is set from what a bare loop reaches, so that neither is measured at rest.
"""

import asyncio
import json
import sys
from pathlib import Path
from statistics import median, quantiles

from benchmarks.engine.bare import BARE_LABEL, LIBRARIES
from benchmarks.engine.paced import Pace
from benchmarks.engine.service import Demand, Measured, at_work, label, look, paced_server
from benchmarks.figures import Figure, Sense
from benchmarks.session import Findings, Say
from scheduler.core.errors import ServerUnavailable
from tests.tiny_model import write_tiny_model

LATENCY_S = 0.25
_FLAT_OUT = Pace(slots=1_000_000, latency_s=LATENCY_S)
_FLAT_OUT_IN_FLIGHT = 512
_SHARE = 0.7
"""Of what a bare loop reaches: the servers' capacity."""
_QUEUED = 1.25
"""Attempts in flight for each slot: as many as the scheduler gives a server that reports its queue
(`scheduler.fleet.concurrency`), which so works on while the next attempt is on its way."""
_LONGER = 4
"""Times as long at half load as otherwise."""
PEER = "ours"
"""Our client over httpx and nothing else. Plain httpx searches all of its hundreds of connections at each call."""
PARTS = ("scheduler", "redis", "rewards", "server", "learner")


async def measure(folder: Path, say: Say, *, seconds: float) -> Findings:
    """The bare loops first, then the engine flat out, at the servers' capacity, and at half of it."""
    model = write_tiny_model(folder / "model")
    async with paced_server(model, folder) as server:
        await label(server, model, BARE_LABEL)
        bare = await _bare(server, say, seconds=seconds / 2)
        await look(server, _FLAT_OUT)
        async with at_work(server, model, _made(folder / "flat-out"), in_flight=_FLAT_OUT_IN_FLIGHT) as work:
            flat_out = await work.measure(warm_up_s=seconds / 4, seconds=seconds)
        say(f"flat out: {flat_out.rate:,.0f} rollouts/s")
        slots = max(2, round(_SHARE * bare[PEER]["rate"] * LATENCY_S))
        pace = Pace(slots=slots, latency_s=LATENCY_S)
        await look(server, pace)
        async with at_work(server, model, _made(folder / "capacity"), in_flight=round(_QUEUED * slots)) as work:
            full = await work.measure(warm_up_s=seconds / 4, seconds=seconds)
        say(f"at capacity: {full.served.busy_s / full.served.seconds / slots:.1%} of {slots} slots in use")
        demand = Demand.of(0.5 * slots / LATENCY_S)
        async with at_work(
            server, model, _made(folder / "half"), in_flight=round(_QUEUED * slots), demand=demand
        ) as work:
            # A few visits a second are decided on, and it is their hundredth part that is told.
            half = await work.measure(warm_up_s=seconds / 4, seconds=_LONGER * seconds)
    figures = _figures(bare, flat_out, full, half, slots)
    raw = {
        "turnaround ms at half load": [round(1e3 * each, 3) for each in half.served.turnarounds_s],
        **{f"CPU ms of {part}": [full.cpu_ms(part)] for part in PARTS},
        **{f"requests/s of {library}": [found["rate"]] for library, found in bare.items()},
    }
    return figures, raw


def _figures(
    bare: dict[str, dict[str, float]], flat_out: Measured, full: Measured, half: Measured, slots: int
) -> list[Figure]:
    turnarounds_ms = [1e3 * each for each in half.served.turnarounds_s]
    return [
        Figure(
            what="servers kept busy",
            value=full.served.busy_s / full.served.seconds / slots,
            target=0.98,
            note=f"of a capacity of {slots / LATENCY_S:,.0f} rollouts/s, {_SHARE} of what the bare loop reaches",
        ),
        Figure(
            what="added latency at half load, p99",
            value=quantiles(turnarounds_ms, n=100)[-1],
            unit="ms",
            target=10.0,
            sense=Sense.AT_MOST,
            note=f"last pilot's answer to first commit's request, median {median(turnarounds_ms):.1f} ms, at "
            f"{half.served.busy_s / half.served.seconds / slots:.0%} of the slots; {half.served.pushed} of "
            f"{half.served.pushed + len(turnarounds_ms):,} met a push of weights and are not counted",
        ),
        Figure(
            what="engine flat out against the bare loop",
            value=flat_out.rate / bare[PEER]["rate"],
            target=0.8,
            note=f"{flat_out.rate:,.0f} against {bare[PEER]['rate']:,.0f} requests/s of the same client on its own",
        ),
        *(
            Figure(
                what=f"plain {library} against the bare loop",
                value=bare[library]["rate"] / bare[PEER]["rate"],
                note=f"{bare[library]['rate']:,.0f} requests/s, {bare[library]['cpu_ms']:.2f} CPU-ms each; "
                f"the bare loop {bare[PEER]['cpu_ms']:.2f}",
            )
            for library in bare
            if library != PEER
        ),
        *(
            Figure(what=f"CPU of {part}", value=full.cpu_ms(part), unit="ms a rollout", note="at capacity")
            for part in PARTS
        ),
    ]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def _bare(server: str, say: Say, *, seconds: float) -> dict[str, dict[str, float]]:
    """Requests a second and CPU-milliseconds each, by library; each in a process of its own."""
    found: dict[str, dict[str, float]] = {}
    await look(server, _FLAT_OUT)
    for library in LIBRARIES:
        arguments = ("-m", "benchmarks.engine.bare", server, library, str(seconds), str(_FLAT_OUT_IN_FLIGHT))
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        if process.returncode:
            raise ServerUnavailable(f"the bare loop of {library} ended with code {process.returncode}")
        told = json.loads(output)
        found[library] = {
            "rate": told["requests"] / told["seconds"],
            "cpu_ms": 1e3 * told["cpu_s"] / told["requests"],
        }
        say(f"bare {library}: {found[library]['rate']:,.0f} requests/s")
    return found
