"""The runs of both sides, one after the other, and what came of them.

Owns: the order of things, and which of them are made already. Invariants: the two sides never run at the same time; a
finished run, or a generator that was timed, is kept and never repeated; one that was interrupted is made again alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import msgspec
from rich.console import Console

from benchmarks.end_to_end.findings import findings
from benchmarks.end_to_end.lines import Generated, Line, read, record_of
from benchmarks.end_to_end.peer import work_off
from benchmarks.end_to_end.plan import COMPARISON, GENERATORS, TRL, Job, job_of
from benchmarks.model import model_folder
from benchmarks.origin import origin
from benchmarks.session import Findings, Say
from benchmarks.target import record, targets
from benchmarks.target.plan import PlannedRun, missing
from benchmarks.target.record import Header
from benchmarks.target.runner import Runner, RunnerOptions, header_of, scratch
from benchmarks.trl import TRL_VERSION, trl_python
from scheduler.core.errors import InvalidInput, LearnerError

_NOT_KEPT = frozenset({"prompts", "held_out", "model", "folder", "lines"})


@dataclass(slots=True, kw_only=True)
class Comparison:
    """Both sides' runs, as far as they are not made."""

    planned: Sequence[PlannedRun]
    results: Path
    folder: Path
    """For what TRL writes; not kept."""
    minutes: float | None
    """No new run is started after this many."""
    trl_minutes: float
    """Of training, for each of TRL's runs: one that is cut there bounds the ratio from below."""
    say: Say
    _began: float = field(default_factory=time.monotonic)

    async def measure(self) -> Findings:
        """Make what is missing, and say what all records say; raises what either side raises."""
        runs_left = missing(list(self.planned), self.results)
        for (_, is_trl), runs in groupby(runs_left, key=lambda run: (run.seed, run.name == TRL)):
            if self._left() <= 0:
                self.say("time is up: the same command goes on where this one stops")
                break
            # Ours of a seed share their servers; they are gone before TRL begins.
            await (self._trl if is_trl else self._ours)(list(runs))
        made = [run.path(self.results) for run in self.planned if run.path(self.results).exists()]
        if not made:
            raise InvalidInput("no run is finished: give it more --minutes")
        return findings([record.read(path) for path in made], self._timed(), targets.load()[self.planned[0].pool])

    def _left(self) -> float:
        """Minutes."""
        return float("inf") if self.minutes is None else self.minutes - (time.monotonic() - self._began) / 60

    async def _ours(self, runs: Sequence[PlannedRun]) -> None:
        minutes = None if self.minutes is None else self._left()
        options = RunnerOptions.of(model_folder(), results=self.results, state=scratch(), minutes=minutes)
        self.say(f"ours: {', '.join(run.label for run in runs)}; logs are in {options.state.parent}")
        await Runner(options, Console(stderr=True)).run(runs)

    async def _trl(self, runs: Sequence[PlannedRun]) -> None:
        (run,) = runs
        generator = await self._fastest(run)
        enough, begun = targets.load()[run.pool].highest, datetime.now(UTC)
        self.say(f"TRL: seed {run.seed}, generating with `{generator}`")
        job = job_of(run, model_folder(), self.folder, generator=generator, enough=enough, minutes=self.trl_minutes)
        lines = await self._worked_off(job)
        header = header_of(origin(f"benchmarks.{COMPARISON}"), run, begun, server_dtype=run.dtype)
        record.write(record_of(_as_asked(header, job), lines), run.path(self.results))

    async def _fastest(self, run: PlannedRun) -> str:
        """The generator that makes most tokens a second; each is timed once for all runs."""
        timed = {line.generator for line in self._timed()}
        for name in GENERATORS if not timed else ():
            untrained, minutes = replace(run, budget_rollouts=0), self.trl_minutes
            job = job_of(untrained, model_folder(), self.folder, generator=name, enough=None, minutes=minutes)
            try:
                (line,) = await self._worked_off(job)
            except LearnerError as error:
                self.say(f"TRL's generator {name} does not work here: {error}")
                continue
            assert isinstance(line, Generated)
            self.say(f"TRL's generator {name}: {line.tokens / line.seconds:.1f} tokens/s")
            with self._generators.open("ab") as lines:
                lines.write(msgspec.json.encode(line) + b"\n")
        return max(self._timed(), key=lambda line: line.tokens / line.seconds).generator

    async def _worked_off(self, job: Job) -> list[Line]:
        return await work_off(trl_python(self.say), job, self.folder, self.say)

    @property
    def _generators(self) -> Path:
        return self.results / COMPARISON / "generators.jsonl"

    def _timed(self) -> list[Generated]:
        lines = read(self._generators.read_bytes()) if self._generators.exists() else []
        return [line for line in lines if isinstance(line, Generated)]


def _as_asked(header: Header, job: Job) -> Header:
    """TRL has its own version, and was asked for the job: without its prompts, which are the pool's, and without the
    machine's folders."""
    asked = {name: value for name, value in msgspec.to_builtins(job).items() if name not in _NOT_KEPT}
    versions = {**header.versions, "trl": TRL_VERSION}
    return msgspec.structs.replace(header, versions=versions, learner_settings={}, request=asked)
