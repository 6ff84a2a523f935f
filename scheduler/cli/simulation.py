"""A comparison in the simulator: made of what was asked for, run on several cores, shown.

Owns: reading rules and pools as they were named, and the processes. Never computes a number itself. Invariant: with
JSON stdout carries one object and nothing else.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.progress import track

from scheduler.cli import simulation_tables
from scheduler.cli.run_options import parameters
from scheduler.cli.terminal import say
from scheduler.core.allocators.catalogue import AllocatorName, build_allocator
from scheduler.core.allocators.interface import Allocator
from scheduler.core.errors import InvalidInput
from scheduler.simulator.account import Account
from scheduler.simulator.comparison import Entrant, Match, Plan, Standing, compare
from scheduler.simulator.pool import PoolName
from scheduler.simulator.report import as_fields
from scheduler.simulator.setting import Setting

_MATCHES_AT_ONCE = 2
"""Handed to a process together: few, so that no core is left without work at the end."""


def numbers(given: Mapping[str, object]) -> dict[str, float | int | None]:
    """Parameters that are numbers or null; raises BadParameter for any other."""
    try:
        return msgspec.convert(given, dict[str, int | float | None])
    except msgspec.ValidationError as exc:
        raise typer.BadParameter(f"a number or null is needed: {exc}", param_hint="--parameter") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Builds the rules of a comparison, each as it was named."""

    pilots: int
    commits: int
    shared: Mapping[str, float | int | None]
    """Parameters of every rule but the baseline."""

    def plan(
        self,
        allocators: Sequence[str],
        pools: Sequence[str],
        *,
        steps: int,
        batch_size: int,
        seeds: int,
        num_prompts: int,
    ) -> Plan:
        """The comparison; without names, of everything there is. Raises InvalidInput for what there is not."""
        return Plan(
            baseline=Entrant(label=AllocatorName.GRPO.value, allocator=self._built(AllocatorName.GRPO, {})),
            entrants=tuple(map(self._entrant, dict.fromkeys(allocators or [name.value for name in AllocatorName]))),
            pools=tuple(map(_pool, dict.fromkeys(pools or PoolName))),
            setting=Setting(steps=steps, batch_size=batch_size, largest_group=self.pilots + self.commits),
            seeds=seeds,
            num_prompts=num_prompts,
        )

    def _entrant(self, spec: str) -> Entrant:
        """A rule from NAME[,NAME=NUMBER...]."""
        name, *own = spec.split(",")
        return Entrant(label=spec, allocator=self._built(name, {**self.shared, **numbers(parameters(own))}))

    def _built(self, name: str, given: Mapping[str, float | int | None]) -> Allocator:
        return build_allocator(name, pilots=self.pilots, commits=self.commits, parameters=given)


def _pool(name: str) -> PoolName:
    try:
        return PoolName(name)
    except ValueError as exc:
        raise InvalidInput(f"there is no pool {name!r}; there are {', '.join(PoolName)}", field="pool") from exc


def compare_and_show(plan: Plan, *, processes: int | None, out: Path, as_json: bool) -> None:
    """Run a comparison, print it, and draw it into `out`."""
    standings = compare(plan, _runner(processes or os.cpu_count() or 1))
    if as_json:
        typer.echo(json.dumps(as_fields(plan, standings), ensure_ascii=False, indent=2))
    else:
        Console().print(simulation_tables.comparison(plan, standings))
    _draw(plan, standings, out)


def _runner(processes: int) -> Callable[[Callable[[Match], Account], Sequence[Match]], Iterator[Account]]:
    """Runs matches on so many cores, in order, and shows how far it is."""

    def run(play: Callable[[Match], Account], matches: Sequence[Match]) -> Iterator[Account]:
        if processes == 1:
            yield from _shown(map(play, matches), len(matches))
            return
        # Spawned, not forked: a forked child inherits whatever threads and locks the process has by then.
        with ProcessPoolExecutor(min(processes, len(matches)), mp_context=get_context("spawn")) as workers:
            yield from _shown(workers.map(play, matches, chunksize=_MATCHES_AT_ONCE), len(matches))

    return run


def _shown(accounts: Iterable[Account], total: int) -> Iterable[Account]:
    return track(accounts, "simulating", total=total, console=Console(stderr=True), transient=True)


def _draw(plan: Plan, standings: Sequence[Standing], out: Path) -> None:
    if find_spec("matplotlib") is None:
        return say("no picture without matplotlib: it comes with the extra `pilotcommit[demo]`")
    from scheduler.simulator.picture import draw

    png, svg = draw(plan, standings, out)
    return say(f"the picture: {png} and {svg}")
