"""`pilotcommit simulate`: allocators against each other on modelled pools, without a server or a model.

Owns: the command's options. Never compares anything itself. Invariant: the simulator is imported when it is called, so
that the other commands start fast.
"""

from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli.run_options import parameters
from scheduler.cli.terminal import AsJson

_SIZES, _MODEL = "Groups and steps", "Model"


def simulate(
    allocator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME=NUMBER...]",
            help="A rule, or package.module:Name of one's own, with parameters of its own; repeatable. Default: all.",
        ),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            help="flat, broad, u_shaped, hard, easy, uneven, drifting or drifting_hard; repeatable. Default: all."
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="A parameter of every rule named with --allocator; repeatable."),
    ] = None,
    pilots: Annotated[int, typer.Option(min=0, help="m.", rich_help_panel=_SIZES)] = 16,
    commits: Annotated[
        int, typer.Option(min=0, help="c; a group has at most m + c rollouts.", rich_help_panel=_SIZES)
    ] = 48,
    batch_size: Annotated[int, typer.Option(min=1, help="Groups of one step.", rich_help_panel=_SIZES)] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of a run.", rich_help_panel=_SIZES)] = 48,
    prompts: Annotated[int, typer.Option(min=2, help="Of a pool.", rich_help_panel=_MODEL)] = 512,
    seeds: Annotated[int, typer.Option(min=2, help="Runs of each rule on each pool.", rich_help_panel=_MODEL)] = 4,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; by default one a core.", rich_help_panel=_MODEL)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("simulation"),
    as_json: AsJson = False,
) -> None:
    """Compare allocators by signal per generated rollout on modelled pools, the same for each."""
    from scheduler.cli import simulation

    if parameter and not allocator:
        raise typer.BadParameter("say with --allocator whose parameters they are", param_hint="--parameter")
    rules = simulation.Rules(pilots=pilots, commits=commits, shared=simulation.numbers(parameters(parameter or ())))
    plan = rules.plan(allocator or (), pool or (), steps=steps, batch_size=batch_size, seeds=seeds, num_prompts=prompts)
    simulation.compare_and_show(plan, processes=processes, out=out, as_json=as_json)
