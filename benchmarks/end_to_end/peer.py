"""TRL's process: one job, from its start to its last line.

Owns: the process and its environment. Invariants: it has every core, and threads that sleep while they wait; it does
not outlive this process, nor the wait for it.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from benchmarks.end_to_end.lines import Line, Step, read
from benchmarks.end_to_end.plan import Job
from benchmarks.session import Say
from inference.parent import die_with_parent
from scheduler.core.errors import LearnerError

_PEER = Path(__file__).with_name("trl_peer.py")
_LOOK_S = 5.0
_LAST_WORDS = 1500


async def work_off(python: Path, job: Job, folder: Path, say: Say) -> list[Line]:
    """The lines of a job; raises LearnerError with the process's last words where it fails."""
    path, lines, log = _made_ready(job, folder)
    # Spinning threads starve each other as soon as anything else runs: both sides have threads that sleep.
    environment = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), "OMP_WAIT_POLICY": "passive"}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(python),
            str(_PEER),
            str(path),
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent(),
        )
        try:
            await _followed(process, lines, say)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode:
        words = log.read_text(errors="replace")[-_LAST_WORDS:]
        raise LearnerError(f"TRL ended with code {process.returncode}: {words}")
    return _lines(lines)


def _made_ready(job: Job, folder: Path) -> tuple[Path, Path, Path]:
    """The job's file, that of its lines, which is not there yet, and the log's."""
    folder.mkdir(parents=True, exist_ok=True)
    path, lines = folder / "job.json", Path(job.lines)
    path.write_bytes(msgspec.json.encode(job))
    lines.unlink(missing_ok=True)
    return path, lines, folder / "trl.log"


async def _followed(process: asyncio.subprocess.Process, path: Path, say: Say) -> None:
    """Consumes: lines. Produces: progress. Waits for: the process's end, looking at its lines meanwhile."""
    told = 0
    while process.returncode is None:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _LOOK_S)
        lines = _lines(path)
        _tell(lines[told:], say)
        told = len(lines)


def _tell(lines: Sequence[Line], say: Say) -> None:
    for line in lines:
        if isinstance(line, Step):
            held_out = "" if line.accuracy is None else f", held-out {line.accuracy:.4f}"
            say(f"TRL: step {line.step}, {line.rollouts:,} rollouts, {line.elapsed_s / 60:.1f} minutes{held_out}")


def _lines(path: Path) -> list[Line]:
    return read(path.read_bytes()) if path.exists() else []
