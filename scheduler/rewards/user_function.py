"""A reward written by the user: `module:function`, imported and called in a worker process only.

Owns: loading and checking the function, and reading its answer. Never judges by itself. Invariant: an answer
that is not a finite number, a bool or a (reward, correct) pair raises RewardFailed; it never becomes zero.
"""

import importlib
import inspect
import math
import numbers
from collections.abc import Callable, Mapping

from scheduler.core.errors import InvalidInput, RewardFailed
from scheduler.core.types import Judgement

UserFunction = Callable[[str, str, Mapping[str, object]], object]


def load(target: str) -> UserFunction:
    """Import `module:function`.

    Raises InvalidInput if it is missing, cannot be called with (text, answer, metadata), or is a coroutine
    function. Whatever the module raises while it is imported goes through.
    """
    module_name, _, path = target.partition(":")
    found: object = importlib.import_module(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            raise InvalidInput(f"module {module_name!r} has no {path!r}", field="reward")
        found = getattr(found, name)
    if not callable(found):
        raise InvalidInput(f"{target!r} is a {type(found).__name__}, not a function", field="reward")
    if inspect.iscoroutinefunction(found):
        raise InvalidInput(
            f"{target!r} is async: rewards run in a process of their own, make it a plain function",
            field="reward",
        )
    _check_signature(target, found)
    return found


def _check_signature(target: str, function: Callable[..., object]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # A builtin without a signature: the call itself will tell.
    try:
        signature.bind("text", "answer", {})
    except TypeError as exc:
        raise InvalidInput(
            f"{target!r} must accept (text, answer, metadata), but its signature is {signature}: {exc}",
            field="reward",
        ) from exc


def read_answer(answer: object) -> Judgement:
    """What the user's function answered, as a judgement.

    A bool is both the reward (1 or 0) and correctness; a number is the reward, and correct where it is above
    0; a pair is (reward, correct). numpy and torch scalars count as what they hold. Raises RewardFailed for
    anything else.
    """
    if isinstance(answer, tuple | list):
        if len(answer) != 2:
            raise RewardFailed(f"the reward answered {len(answer)} values; a pair is (reward, correct)")
        return Judgement(reward=_reward(answer[0]), correct=_correct(answer[1]))
    reward = _reward(answer)
    return Judgement(reward=reward, correct=reward > 0)


def _reward(value: object) -> float:
    scalar = _plain(value)
    if not isinstance(scalar, numbers.Real):
        raise RewardFailed(f"the reward answered {_brief(value)}, not a number, a bool or (reward, correct)")
    try:
        reward = float(scalar)
    except OverflowError:
        reward = math.inf
    if not math.isfinite(reward):
        raise RewardFailed(f"the reward answered {_brief(value)}, which is not finite")
    return reward


def _correct(value: object) -> bool:
    scalar = _plain(value)
    if not isinstance(scalar, bool):
        raise RewardFailed(f"the reward answered correct={_brief(value)}, which is not a bool")
    return scalar


def _plain(value: object) -> object:
    """Unwrap a numpy or torch scalar without importing either."""
    item = getattr(value, "item", None)
    return item() if callable(item) else value


def _brief(value: object) -> str:
    return f"{type(value).__name__} {repr(value)[:80]}"
