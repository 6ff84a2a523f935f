"""The budget of a run and what an attempt may cost it at most.

Owns: limits, worst-case costs, and the rule of what still fits. Never counts by itself: the ledger does.
Invariant: spent + reserved never exceeds a limit, because nothing is launched that was not reserved first.
"""

from dataclasses import dataclass

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


def _within(limit: int | None, value: int) -> bool:
    return limit is None or value <= limit
