"""NAME=VALUE options that give or want labels.

Owns: reading them. Never decides what a label may be: the core does.
"""

from collections.abc import Iterable

import typer

from scheduler.core.errors import InvalidInput
from scheduler.core.labels import parsed


def labels(given: Iterable[str] | None, option: str) -> dict[str, str]:
    """The labels of a repeatable option; raises BadParameter for what is none."""
    try:
        return parsed(given or (), "labels")
    except InvalidInput as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
