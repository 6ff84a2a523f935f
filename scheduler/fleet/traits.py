"""What is particular of a server beside its address.

Owns: the value. Never read from a server: operators say it. Invariant: none of it is a secret.
"""

from dataclasses import dataclass, field

from scheduler.core.labels import Labels
from scheduler.core.path_map import SAME_EVERYWHERE, PathMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What operators say of one server."""

    labels: Labels = field(default_factory=dict)
    """By which runs choose it."""
    paths: PathMap = SAME_EVERYWHERE
    """Where it sees what learners write, if not where the other servers do."""


PLAIN = Traits()
"""Like all others."""
