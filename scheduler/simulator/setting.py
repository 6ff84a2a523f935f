"""How a simulated run goes, whatever its rule.

Owns: its sizes and their checks. Never changes within a comparison: every rule has the same.
"""

from dataclasses import dataclass

from scheduler.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a run goes, whatever its rule. Raises InvalidInput for sizes that make no run."""

    steps: int = 48
    batch_size: int = 16
    """Groups of one training step, all of distinct prompts."""
    largest_group: int = 64
    """n: rollouts that a group has at most."""
    max_wait: int = 4
    """Weight versions that a survivor waits for a slot before it expires."""
    pilot_cap: int = 256
    """Prompts claimed together on demand, at most."""
    discount: float = 0.98
    """Per weight version, how much of a prompt's evidence is kept."""

    def __post_init__(self) -> None:
        for name, value, least in (
            ("steps", self.steps, 1),
            ("batch_size", self.batch_size, 1),
            ("largest_group", self.largest_group, 2),
            ("max_wait", self.max_wait, 0),
            ("pilot_cap", self.pilot_cap, 1),
        ):
            if value < least:
                raise InvalidInput(f"{value} is below {least}", field=name)
