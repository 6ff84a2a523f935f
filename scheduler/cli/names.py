"""Names that commands are given, and what a shell may complete them to.

Owns: asking the scheduler which there are. Invariant: a completion never fails, says nothing on the screen and takes a
second at most; where the scheduler is not reached, there is nothing to complete.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Annotated

import typer

from scheduler.cli.terminal import DEFAULT_URL, connected
from scheduler.client import Client, Json
from scheduler.core.errors import PilotCommitError

_PATIENCE_S = 1.0


def _asked(incomplete: str, ask: Callable[[Client], list[Json]], field: str) -> list[str]:
    names: Iterable[str] = ()
    with suppress(PilotCommitError), connected(os.environ.get("PILOTCOMMIT_URL", DEFAULT_URL), _PATIENCE_S) as client:
        names = [str(item[field]) for item in ask(client)]
    return [name for name in names if name.startswith(incomplete)]


def _runs(incomplete: str) -> list[str]:
    return _asked(incomplete, Client.runs, "run_id")


def _pools(incomplete: str) -> list[str]:
    return _asked(incomplete, Client.pools, "name")


def _servers(incomplete: str) -> list[str]:
    return _asked(incomplete, Client.servers, "server_id")


RunIds = Annotated[
    list[str], typer.Argument(metavar="RUN RUN…", help="The runs' ids, two or more.", autocompletion=_runs)
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", autocompletion=_runs)]
PoolName = Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.", autocompletion=_pools)]
Server = Annotated[str, typer.Argument(metavar="SERVER", help="The server's id or address.", autocompletion=_servers)]
