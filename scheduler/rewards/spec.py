"""How a pool names its reward, and what a reward is asked.

Owns: the closed set of reward kinds, the parsed `RewardSpec`, and `RewardJob`. Never runs a reward and never
imports a user's function (`RewardPool.check` does, in a worker). Invariant: a `RewardSpec` that exists is
well formed.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.core.addresses import server_address
from scheduler.core.errors import InvalidInput
from scheduler.rewards import gym_entry
from scheduler.rewards.functions import read_number

DEFAULT_TIMEOUT_S = 5.0
MAX_TIMEOUT_S = 600.0
DEFAULT_TOLERANCE = 1e-6
FORMS = (
    "'exact', 'numeric', 'regex', 'regex:PATTERN', 'math', 'reasoning_gym', 'python:module:function' or the "
    "'https://…' of a reward server"
)


class RewardKind(StrEnum):
    """The rewards a pool can name."""

    EXACT = "exact"
    """The stripped text equals the stripped answer."""
    NUMERIC = "numeric"
    """The last number in the text equals the answer within a tolerance."""
    REGEX = "regex"
    """The answer is a pattern found in the text, or the pool's pattern captures the answer."""
    MATH = "math"
    """What the text says last is the answer, mathematically, as math-verify reads and compares both."""
    REASONING_GYM = "reasoning_gym"
    """The scorer of the reasoning-gym task that the prompt was made by."""
    PYTHON = "python"
    """The user's own function, named `module:function`."""
    HTTP = "http"
    """A server of the user's own, named by its http:// or https:// address."""


UNCERTAIN = frozenset({RewardKind.MATH, RewardKind.REASONING_GYM, RewardKind.PYTHON, RewardKind.HTTP})
"""Rewards that another installation, or another moment, may lack: a run that is created makes sure once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardJob:
    """One completion to judge."""

    text: str
    """Generated text without the stop string."""
    answer: str
    """The prompt's reference answer."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """The prompt's metadata, as JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSpec:
    """The reward of a pool, well formed or not built at all (InvalidInput)."""

    kind: RewardKind
    target: str | None = None
    """`module:function` of a python reward, the address of an http one, the pool's pattern of a regex reward, else
    None."""
    tolerance: float = DEFAULT_TOLERANCE
    """Of a numeric reward: largest |number - answer| over max(1, |answer|). Integers must be equal."""
    timeout_s: float = DEFAULT_TIMEOUT_S
    """Wall-clock limit of one judgement; past it the worker is killed and the rollout is failed.

    A reward server's is of the settings.
    """

    def __post_init__(self) -> None:
        _check_number("timeout_s", self.timeout_s, low=0.001, high=MAX_TIMEOUT_S)
        _check_number("tolerance", self.tolerance, low=0.0, high=1.0)
        match self.kind:
            case RewardKind.PYTHON:
                _check_function_name(self.target)
            case RewardKind.REGEX if self.target is not None:
                _check_capturing_pattern(self.target)
            case RewardKind.HTTP:
                _check_address(self.target)
            case kind if kind is not RewardKind.REGEX and self.target is not None:
                raise InvalidInput(f"reward {self.kind} takes no target, got {self.target!r}", field="reward")

    @property
    def name(self) -> str:
        """The reward as a pool names it."""
        if self.kind is RewardKind.HTTP:
            return str(self.target)
        return self.kind if self.target is None else f"{self.kind}:{self.target}"

    def check_prompt(self, answer: str, metadata: Mapping[str, str]) -> None:
        """Raise InvalidInput where a prompt with these can never be judged: it is refused at upload."""
        match self.kind:
            case RewardKind.NUMERIC if read_number(answer) is None:
                raise InvalidInput(f"a numeric reward needs a number as answer, got {answer!r}", field="answer")
            case RewardKind.REGEX if self.target is None:
                _compile(answer, field="answer")
            case RewardKind.MATH if not answer.strip():
                raise InvalidInput("a math reward needs an answer, got none", field="answer")
            case RewardKind.REASONING_GYM:
                gym_entry.read(metadata)
            case _:
                pass


def parse_spec(value: str | Mapping[str, object]) -> RewardSpec:
    """Read a reward as a pool names it.

    A string is the kind, with its target after a colon: `exact`, `numeric`, `regex`, `regex:PATTERN`, `math`,
    `reasoning_gym`, `python:module:function`; the address of a reward server stands for itself. A mapping has `kind`
    (any such string) and may have `pattern`, `function`, `tolerance` and, but for a reward server, `timeout_s`. Raises
    InvalidInput, which says what would be right, for anything else.
    """
    if isinstance(value, str):
        kind, target = _parse_name(value)
        return RewardSpec(kind=kind, target=target)
    return _parse_mapping(value)


def _parse_name(name: str) -> tuple[RewardKind, str | None]:
    word, colon, target = name.partition(":")
    if word.lower() in ("http", "https"):
        return RewardKind.HTTP, _address(name)
    try:
        kind = RewardKind(word)
    except ValueError:
        raise InvalidInput(f"unknown reward {name!r}: use {FORMS}", field="reward") from None
    return kind, target if colon else None


def _parse_mapping(value: Mapping[str, object]) -> RewardSpec:
    name = value.get("kind")
    if not isinstance(name, str):
        raise InvalidInput(f"reward.kind must be one of {FORMS}, got {name!r}", field="reward.kind")
    kind, target = _parse_name(name)
    if kind is RewardKind.HTTP and "timeout_s" in value:
        raise InvalidInput(
            "how long a reward server may take is PILOTCOMMIT_REWARD_SERVER_TIMEOUT_S, which the operator sets",
            field="reward.timeout_s",
        )
    allowed = {"kind", "timeout_s", *_own_keys(kind)}
    unknown = sorted(str(key) for key in value.keys() - allowed)
    if unknown:
        raise InvalidInput(
            f"reward {kind} does not know {', '.join(unknown)}: it knows {', '.join(sorted(allowed))}",
            field=f"reward.{unknown[0]}",
        )
    return RewardSpec(
        kind=kind,
        target=_text(value, "pattern") or _text(value, "function") or target,
        tolerance=_number(value, "tolerance", DEFAULT_TOLERANCE),
        timeout_s=_number(value, "timeout_s", DEFAULT_TIMEOUT_S),
    )


def _own_keys(kind: RewardKind) -> tuple[str, ...]:
    match kind:
        case RewardKind.EXACT | RewardKind.MATH | RewardKind.REASONING_GYM | RewardKind.HTTP:
            return ()
        case RewardKind.NUMERIC:
            return ("tolerance",)
        case RewardKind.REGEX:
            return ("pattern",)
        case RewardKind.PYTHON:
            return ("function",)


def _text(value: Mapping[str, object], key: str) -> str | None:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise InvalidInput(f"reward.{key} must be a string, got {found!r}", field=f"reward.{key}")
    return found


def _number(value: Mapping[str, object], key: str, default: float) -> float:
    found = value.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise InvalidInput(f"reward.{key} must be a number, got {found!r}", field=f"reward.{key}")
    return float(found)


def _check_number(name: str, value: float, *, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise InvalidInput(
            f"reward.{name} must lie between {low:g} and {high:g}, got {value:g}", field=f"reward.{name}"
        )


def _check_function_name(target: str | None) -> None:
    module, _, function = (target or "").partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
        raise InvalidInput(
            f"a python reward is named 'python:module:function', got 'python:{target or ''}'", field="reward"
        )


def _address(url: str) -> str:
    if "@" in url:
        # Not repeated: it would end up in logs and answers.
        raise InvalidInput(
            "the address of a reward server has no name or password in it: "
            "its key is PILOTCOMMIT_REWARD_SERVER_API_KEY",
            field="reward",
        )
    try:
        return server_address(url)
    except InvalidInput as error:
        raise InvalidInput(f"the reward {error}", field="reward") from error


def _check_address(target: str | None) -> None:
    if target is None or _address(target) != target:
        raise InvalidInput(f"an http reward is named by its address alone, got {target!r}", field="reward")


def _check_capturing_pattern(pattern: str) -> None:
    if _compile(pattern, field="reward.pattern").groups < 1:
        raise InvalidInput(
            f"the pattern {pattern!r} captures nothing: put what must equal the answer into a group, as in "
            "'answer: (.*)'; or leave it out, and each prompt's answer is its pattern",
            field="reward.pattern",
        )


def _compile(pattern: str, *, field: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as exc:
        raise InvalidInput(f"not a regular expression: {pattern!r} ({exc})", field=field) from exc
