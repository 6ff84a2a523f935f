"""The parameters of an allocator, as they come with a run.

Owns: which parameters a rule declares and whether the values given fit them. Never builds a rule. Invariant: what fits
is a number or null, so that a run's parameters travel as plain JSON.
"""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

from scheduler.core.errors import InvalidInput

Number = float | int | None

_SIZES = ("pilots", "commits")
_NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# What a declared parameter type accepts from JSON, and how to ask for it.
_ACCEPTED: Mapping[object, tuple[str, tuple[type, ...]]] = MappingProxyType(
    {
        float: ("a number", (float, int)),
        int: ("a whole number", (int,)),
        float | None: ("a number or null", (float, int, type(None))),
        int | None: ("a whole number or null", (int, type(None))),
    }
)


def check_parameters(name: str, signature: inspect.Signature, parameters: Mapping[str, Number]) -> None:
    """Raises InvalidInput for a parameter that the rule does not declare, or a value of another type than declared."""
    declared = {
        parameter.name: parameter.annotation
        for parameter in signature.parameters.values()
        if parameter.name not in _SIZES and parameter.kind in _NAMED
    }
    for parameter, value in parameters.items():
        _check(name, parameter, value, declared)


def signature_of(name: str, build: Callable[..., object]) -> inspect.Signature:
    """How the rule is built. Raises InvalidInput if that cannot be told."""
    try:
        return inspect.signature(build, eval_str=True)
    except (NameError, TypeError, ValueError) as exc:
        raise InvalidInput(f"the parameters of {name} cannot be read: {exc}", field="allocator") from exc


def _check(name: str, parameter: str, value: Number, declared: Mapping[str, object]) -> None:
    field = f"parameters.{parameter}"
    if parameter not in declared:
        takes = ", ".join(declared) or "none"
        raise InvalidInput(f"{name} has no parameter {parameter!r}; its parameters: {takes}", field=field)
    if declared[parameter] not in _ACCEPTED:
        raise InvalidInput(
            f"a run can set {parameter} if {name} declares it as float, int, float | None or int | None", field=field
        )
    words, types = _ACCEPTED[declared[parameter]]
    if isinstance(value, bool) or not isinstance(value, types):
        raise InvalidInput(f"{name} needs {words} for {parameter}, not {value!r}", field=field)
