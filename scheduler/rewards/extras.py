"""Packages that only some rewards need.

Owns: importing them, and what is said where one is missing. Invariant: a reward without its package is refused with
the command that installs it.
"""

import importlib
from types import ModuleType

from scheduler.core.errors import InvalidInput


def load(module: str, package: str, extra: str) -> ModuleType:
    """Import a module of `package`; raises InvalidInput, which says how to install it, where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        raise InvalidInput(
            f"it needs {package}, but {exc.name} is not installed here: pip install 'pilotcommit[{extra}]'",
            field="reward",
        ) from exc
