"""The API's answer about how hard a pool is, as far as a person is shown it."""

from collections.abc import Mapping

import msgspec


class PassRateBar(msgspec.Struct, frozen=True, kw_only=True):
    """Prompts with the same number of right pilots."""

    correct: int
    pass_rate: float
    prompts: int
    decision: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A pool as its pilots showed it."""

    pilots: int
    prompts: int
    unfinished: int
    bars: tuple[PassRateBar, ...]
    mean_pass_rate: float | None
    all_wrong_rate: float | None
    mixed_rate: float | None
    all_right_rate: float | None
    decisions: Mapping[str, int]
    skip_rate: float | None
    rollouts: int
    tokens: int
    tokens_per_prompt: float | None
    tokens_per_rollout: float | None
