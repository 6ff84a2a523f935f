"""Makes the planned runs one after another on the whole service, and writes their records.

Owns: the servers that all runs share, a fresh scheduler, Redis and learner for each run, and when a run is ended. Never
computes a result. Invariants: a run whose record exists is never made; one that was interrupted leaves no record and is
made again from its start; whatever happens, every process started here is gone at the end.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

import msgspec
import structlog
from rich.console import Console

from benchmarks.origin import Origin, origin
from benchmarks.processes import tree_cpu_s
from benchmarks.target import pools, settings, targets
from benchmarks.target.plan import PlannedRun
from benchmarks.target.record import Header, Record, write
from benchmarks.target.settings import BASELINE
from benchmarks.target.watching import EvaluationAnswer, Moment, Observed, done, has_seen_enough, moment, record_of
from inference.interpreter import detect_device, sglang_python
from inference.launch import ServerSpec
from inference.supervisor import Supervisor
from scheduler.client import Client, Json
from scheduler.core.errors import InvalidInput, ServerUnavailable
from scheduler.core.lifecycle import ENDED, RunState
from scheduler.demo.facts import Facts, snapshot
from scheduler.demo.progress import ProgressDisplay
from scheduler.ports import free_port
from scheduler.stack import Stack, StackPlan

log = structlog.get_logger(__name__)

_REFRESH_S = 1.0
_PATIENCE_S = 120.0
_MAX_IN_FLIGHT = 1024
"""More than all rollouts under way: an evaluation is prefilled at once, not through the slots that rollouts leave."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """What the runner is told."""

    model: Path
    """Folder of the policy at step 0."""
    dtype: str
    """Of the servers."""
    num_servers: int
    """SGLang servers that the runs share: on a CPU each computes on one core."""
    results: Path
    state: Path
    """A folder for a run's state; emptied for each run, the logs of the last one stay."""
    enough: Mapping[str, float] = field(default_factory=dict)
    """By pool, the held-out accuracy over which a run need not go on; without one it spends its budget."""
    minutes: float | None = None
    """No new run is started after this many."""

    @classmethod
    def of(cls, model: Path, *, results: Path, state: Path, minutes: float | None) -> Self:
        """As the committed settings and targets say."""
        shared = settings.load().run
        return cls(
            model=model,
            dtype=shared.dtype,
            num_servers=shared.num_servers,
            results=results,
            state=state,
            enough={pool: found.highest for pool, found in targets.load().items()},
            minutes=minutes,
        )


@dataclass(slots=True)
class Runner:
    """Works off a list of runs."""

    options: RunnerOptions
    console: Console
    _origin: Origin = field(default_factory=lambda: origin("benchmarks.target"))
    _durations_s: list[float] = field(default_factory=list)

    async def run(self, runs: Sequence[PlannedRun]) -> int:
        """Make the runs in order; returns how many were made.

        Consumes: runs. Produces: records. Waits for: each run's end. Unblocked by: that. Raises what a process that
        cannot start raises, and RunFailed.
        """
        started, made = time.monotonic(), 0
        servers = [self._server(number) for number in range(self.options.num_servers)]
        life = asyncio.create_task(_all(server.run() for server in servers), name="servers")
        urls = tuple(server.base_url for server in servers)
        try:
            await _first(life, asyncio.create_task(_all(server.wait_ready() for server in servers)))
            for place, planned in enumerate(runs):
                if self.options.minutes is not None and time.monotonic() - started > 60 * self.options.minutes:
                    self.console.print(f"time is up: {len(runs) - place} runs are left")
                    break
                title = f"{planned.comparison} {place + 1}/{len(runs)} · {planned.label}{self._left(len(runs) - place)}"
                await _first(life, asyncio.create_task(self._one(planned, urls, title)))
                made += 1
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
        return made

    def _left(self, num_runs: int) -> str:
        if not self._durations_s:
            return ""
        seconds = num_runs * sum(self._durations_s) / len(self._durations_s)
        return f" · about {seconds / 3600:.1f} h left"

    def _server(self, number: int) -> Supervisor:
        self.console.print("[dim]starting SGLang: half a minute on a CPU[/]", highlight=False)
        return Supervisor(
            ServerSpec(
                model_path=self.options.model,
                port=free_port(),
                device=detect_device(),
                dtype=self.options.dtype,
                max_running=_MAX_IN_FLIGHT,
            ),
            python=sglang_python(),
            log_path=self.options.state.with_name(f"{self.options.state.name}-sglang-{number}.log"),
            current_model=lambda: self.options.model,
        )

    async def _one(self, planned: PlannedRun, servers: tuple[str, ...], title: str) -> None:
        started, begun = time.monotonic(), datetime.now(UTC)
        shutil.rmtree(self.options.state, ignore_errors=True)
        stack = Stack(_stack_plan(planned, self.options, servers), say=lambda line: log.info("stack", line=line))
        life = asyncio.create_task(stack.run(), name="stack")
        try:
            course = asyncio.create_task(_course(stack, planned, self.options, title, self.console))
            observed, enough = await _first(life, course)
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            _remove_large_files(self.options.state)
        if observed.run.state == RunState.FAILED:
            raise ServerUnavailable(f"run {planned.label} failed: {observed.run.reason}; no record is written")
        header = header_of(self._origin, planned, begun, server_dtype=self.options.dtype)
        record = record_of(header, observed, reached_target=enough)
        write(record, planned.path(self.options.results))
        self._durations_s.append(time.monotonic() - started)
        self.console.print(_outcome(record), highlight=False, markup=False)


def header_of(made: Origin, planned: PlannedRun, begun: datetime, *, server_dtype: str) -> Header:
    """The first line of a run's record."""
    split = pools.load(planned.pool)
    return Header(
        command=made.command,
        commit=made.commit,
        versions=made.versions,
        cores=made.cores,
        comparison=planned.comparison,
        name=planned.name,
        seed=planned.seed,
        learner_settings=planned.learner_settings(),
        server_dtype=server_dtype,
        request=planned.request(),
        num_prompts=len(split.prompts),
        num_held_out=len(split.held_out[: planned.num_held_out]),
        started_at=begun.isoformat(timespec="seconds"),
    )


async def _all(work: Iterable[Coroutine[None, None, None]]) -> None:
    """See all of it through at once; one that fails ends the others."""
    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(each)


async def _first(life: asyncio.Task[None], work: asyncio.Task[_Result]) -> _Result:
    """What `work` gives; raises what `life` raises if that ends before. Both are left as they are but `work`."""
    try:
        await asyncio.wait({life, work}, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()
            raise ServerUnavailable(f"{life.get_name()} ended while it was needed")
        return await work
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(work, return_exceptions=True)


def _stack_plan(planned: PlannedRun, options: RunnerOptions, servers: tuple[str, ...]) -> StackPlan:
    return StackPlan(
        model=options.model.resolve(),
        folder=options.state.resolve(),
        port=0,
        servers=servers,
        scheduler_settings={"MAX_IN_FLIGHT": str(_MAX_IN_FLIGHT), "LEASE_TTL_S": "30", "DRAIN_S": "30"},
        learner_settings=planned.learner_settings(),
    )


def _remove_large_files(folder: Path) -> None:
    for part in ("runs", "redis"):
        shutil.rmtree(folder / part, ignore_errors=True)


async def _course(
    stack: Stack, planned: PlannedRun, options: RunnerOptions, title: str, console: Console
) -> tuple[Observed, bool]:
    """From the pools to the end of the run."""
    await stack.wait_ready()
    with Client(stack.url) as client:
        run_id = await asyncio.to_thread(_submit, client, stack.plan.model, planned)
        # GRPO's own runs set the targets and are what others are compared with: they go on to the end.
        target = None if planned.name == BASELINE else options.enough.get(planned.pool)
        watch = _Watch(client, run_id, title, target, lambda: tree_cpu_s(stack.children["scheduler"].pid))
        with ProgressDisplay(console) as display:
            enough = await watch.until_ended(display)
        restarts = {name: len(child.restarts) for name, child in stack.children.items() if child.restarts}
        return await asyncio.to_thread(_observed, client, run_id, watch.moments, restarts), enough


def _submit(client: Client, model: Path, planned: PlannedRun) -> str:
    """Create the pools and queue the run; returns its id, which is new: the server has seen other runs' weights."""
    split = pools.load(planned.pool)
    for name, prompts in ((planned.pool, split.prompts), (planned.held_out, split.held_out[: planned.num_held_out])):
        client.create_pool(name, tokenizer=str(model), reward="exact")
        added = client.add_prompts(name, (msgspec.to_builtins(prompt) for prompt in prompts))
        if added["refused"]:
            raise InvalidInput(f"pool {name}: {added['refused']}")
    return str(client.create_run(planned.request())["run_id"])


class _Watch:
    """Follows one run until it has ended, and ends it once it has seen enough."""

    def __init__(
        self, client: Client, run_id: str, title: str, target: float | None, scheduler_cpu_s: Callable[[], float]
    ) -> None:
        self.moments: list[Moment] = []
        self._client = client
        self._run_id = run_id
        self._title = title
        self._target = target
        self._scheduler_cpu_s = scheduler_cpu_s
        self._evaluations: list[Json] = []
        self._evaluated = -1
        self._started = time.monotonic()

    async def until_ended(self, display: ProgressDisplay) -> bool:
        """Consumes: the API's answers. Produces: the display. Waits for: the run's end. Unblocked by: polls.

        Returns whether the run was ended early. Raises ServerUnavailable after a while without an answer.
        """
        enough = False
        while True:
            facts = await self._asked_patiently()
            display.show(snapshot(self._title, facts))
            if facts.run.state in ENDED:
                return enough
            if not enough and has_seen_enough(self._accuracies(), self._target):
                enough = True
                await asyncio.to_thread(self._client.cancel, self._run_id)
            await asyncio.sleep(_REFRESH_S)

    def _accuracies(self) -> list[float]:
        answers = [msgspec.convert(answer, EvaluationAnswer) for answer in self._evaluations]
        return [answer.accuracy for answer in done(answers) if answer.accuracy is not None]

    async def _asked_patiently(self) -> Facts:
        silent_since = time.monotonic()
        while True:
            try:
                return await asyncio.to_thread(self._ask)
            except ServerUnavailable:
                if time.monotonic() - silent_since > _PATIENCE_S:
                    raise
                await asyncio.sleep(_REFRESH_S)

    def _ask(self) -> Facts:
        ledger = self._client.ledger(self._run_id)
        now = moment(ledger, time.time(), self._scheduler_cpu_s())
        self.moments.append(now)
        # The list has a result for every prompt of every evaluation: it is read only when there is something new.
        if now.evaluated != self._evaluated or any(answer["state"] != "done" for answer in self._evaluations):
            self._evaluations = self._client.evaluations(self._run_id)
            self._evaluated = now.evaluated
        run, servers = self._client.run(self._run_id), self._client.servers()
        return Facts.read(time.monotonic() - self._started, run, ledger, self._evaluations, servers)


def _observed(client: Client, run_id: str, moments: Sequence[Moment], restarts: dict[str, int]) -> Observed:
    return Observed.read(
        client.run(run_id),
        list(client.all_weights(run_id)),
        client.evaluations(run_id),
        client.ledger(run_id),
        moments=moments,
        restarts=restarts,
    )


def _outcome(record: Record) -> str:
    """One line for the terminal."""
    accuracies = [evaluation.accuracy for evaluation in record.evaluations]
    last = record.versions[-1] if record.versions else None
    return (
        f"{record.header.comparison} {record.header.name}/{record.header.seed}: {record.end.state}, "
        f"held-out {accuracies[0]:.4f} to {accuracies[-1]:.4f}, {last.step if last else 0} steps, "
        f"{last.spent_rollouts if last else 0:,} rollouts, {record.end.elapsed_s / 60:.1f} minutes"
    )


def scratch() -> Path:
    """A folder for the state of runs."""
    return Path(tempfile.mkdtemp(prefix="pilotcommit-benchmark-")) / "state"
