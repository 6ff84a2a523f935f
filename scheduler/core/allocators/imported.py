"""An allocator of the user's own, named by its import path `package.module:Name`.

Owns: loading it, building it and telling whether it answers the protocol. Never trusts it to: what cannot serve a run
is refused when the run is created. Invariant: what the user's code raises when imported or built is InvalidInput here.

It runs inside the scheduler, which has to find the module on its own path: decisions are too frequent for a process in
between, and as pure functions they need none.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import cast

from scheduler.core.allocators.interface import Allocator
from scheduler.core.allocators.parameters import Number, check_parameters, signature_of
from scheduler.core.errors import InvalidInput

_PROPERTIES = ("name", "largest_group", "round_batches", "discards_surplus", "adapts_early", "foresees")
_METHODS = ("rank", "decide", "select", "adapted")
_FIELD = "allocator"


def is_import_path(name: str) -> bool:
    """Whether a run's allocator is named by where it lies."""
    return ":" in name


def build_imported(path: str, *, pilots: int, commits: int, parameters: Mapping[str, Number]) -> Allocator:
    """The user's rule, called with pilots, commits and its parameters, all by keyword.

    Raises InvalidInput, saying what would be right, if it cannot be imported, cannot be called like that, refuses its
    arguments, or does not answer the allocator protocol.
    """
    build = _load(path)
    signature = signature_of(path, build)
    check_parameters(path, signature, parameters)
    try:
        signature.bind(pilots=pilots, commits=commits, **parameters)
    except TypeError as exc:
        raise InvalidInput(
            f"{path} must accept pilots=, commits= and the run's parameters, but its signature is {signature}: {exc}",
            field=_FIELD,
        ) from exc
    try:
        built = build(pilots=pilots, commits=commits, **parameters)
    except InvalidInput:
        raise
    # The constructor is a user's own: it may raise anything.
    except Exception as exc:
        raise InvalidInput(f"{path} refuses to be built: {exc!r}", field=_FIELD) from exc
    return _answering(path, built)


def _load(path: str) -> Callable[..., object]:
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise InvalidInput(f"an import path is package.module:Name, not {path!r}", field=_FIELD)
    try:
        found: object = importlib.import_module(module_name)
    # So is the module, which runs when it is imported.
    except Exception as exc:
        raise InvalidInput(
            f"module {module_name!r} cannot be imported ({exc!r}): it has to lie on the scheduler's Python path",
            field=_FIELD,
        ) from exc
    for part in name.split("."):
        if not hasattr(found, part):
            raise InvalidInput(f"module {module_name!r} has no {name!r}", field=_FIELD)
        found = getattr(found, part)
    if not callable(found):
        raise InvalidInput(f"{path} is a {type(found).__name__}: name a class, or a function that builds", field=_FIELD)
    return found


def _answering(path: str, built: object) -> Allocator:
    missing = [name for name in _PROPERTIES if not hasattr(built, name)]
    missing += [name for name in _METHODS if not callable(getattr(built, name, None))]
    if missing:
        raise InvalidInput(
            f"{path} does not answer the allocator protocol: {', '.join(missing)} missing; build on "
            "scheduler.core.allocators.rule.Rule and give it name, largest_group and decide",
            field=_FIELD,
        )
    allocator = cast(Allocator, built)
    group: object = allocator.largest_group
    if not isinstance(group, int) or group < 2:
        raise InvalidInput(f"{path} has a largest_group of {group!r}: a group has at least 2 rollouts", field=_FIELD)
    return allocator
