"""The budget of a run and what an attempt may cost it at most.

Owns: limits, worst-case costs, and the rule of what still fits. Never counts by itself: the ledger does.
Invariant: spent + reserved never exceeds a limit, because nothing is launched that was not reserved first.
"""

from dataclasses import dataclass
from typing import TypeVar

from scheduler.core.errors import InvalidInput
from scheduler.core.ledger import Ledger
from scheduler.core.types import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Rollouts and generated tokens."""

    rollouts: int
    tokens: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(rollouts=self.rollouts + other.rollouts, tokens=self.tokens + other.tokens)


def worst_case(num_rollouts: int, max_new_tokens: int) -> Cost:
    """What `num_rollouts` attempts cost if every one generates until its limit."""
    return Cost(rollouts=num_rollouts, tokens=num_rollouts * max_new_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may spend; None is unlimited."""

    rollouts: int | None = None
    """Pilot and commit attempts."""
    tokens: int | None = None
    """Generated tokens of pilots and commits; prompt tokens are reported beside them."""
    wall_clock_s: float | None = None
    """Stops admission this many seconds after the run first claimed; open visits still finish."""
    eval_rollouts: int | None = None
    """Evaluation attempts: a line and a cap of their own."""

    def __post_init__(self) -> None:
        for name in ("rollouts", "tokens", "wall_clock_s", "eval_rollouts"):
            value = getattr(self, name)
            least = 0 if name == "eval_rollouts" else 1
            if value is not None and value < least:
                raise InvalidInput(f"{value} is below {least}", field=f"budget.{name}")

    def raised(self, to: "Budget") -> "Budget":
        """This budget with the limits of another in place of its own, where that has one.

        Raises InvalidInput for a limit that is lower than now.
        """
        return Budget(
            rollouts=_raised("rollouts", self.rollouts, to.rollouts),
            tokens=_raised("tokens", self.tokens, to.tokens),
            wall_clock_s=_raised("wall_clock_s", self.wall_clock_s, to.wall_clock_s),
            eval_rollouts=_raised("eval_rollouts", self.eval_rollouts, to.eval_rollouts),
        )

    def fits(self, ledger: Ledger, cost: Cost) -> bool:
        """Whether a reservation of `cost` keeps spent + reserved within the limits."""
        return _within(self.rollouts, ledger.spent_rollouts + ledger.reserved_rollouts + cost.rollouts) and (
            _within(self.tokens, ledger.spent_tokens + ledger.reserved_tokens + cost.tokens)
        )

    def can_ever_fit(self, ledger: Ledger, cost: Cost) -> bool:
        """Whether `cost` would fit if every open reservation were refunded: if not, the run drains."""
        return _within(self.rollouts, ledger.spent_rollouts + cost.rollouts) and (
            _within(self.tokens, ledger.spent_tokens + cost.tokens)
        )

    def fits_evaluation(self, ledger: Ledger, num_rollouts: int) -> bool:
        """Whether `num_rollouts` more evaluation attempts stay under their cap."""
        return _within(self.eval_rollouts, ledger.stages[Stage.EVAL].attempts + num_rollouts)


_Limit = TypeVar("_Limit", int, float)


def _raised(name: str, now: _Limit | None, to: _Limit | None) -> _Limit | None:
    if to is None:
        return now
    if now is None:
        raise InvalidInput(f"{name} is unlimited now, and {to:,} would be less: leave it out", field=name)
    if to < now:
        raise InvalidInput(f"{to:,} is below {now:,}, the limit now: it can only be raised", field=name)
    return to


def _within(limit: int | None, value: int) -> bool:
    return limit is None or value <= limit
