"""How far a reward worker is shut in: what is asked of the system, and what it gave.

Owns: the values. Never makes a system call (`scheduler.rewards.confinement` does, in the worker). Invariant: whoever
reads an `Isolation` knows of every measure whether it is in force, and why not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class IsolationMode(StrEnum):
    """What happens where the system cannot shut a worker in."""

    REQUIRED = "required"
    """Limits and the filter of system calls must be in force, or no worker starts."""
    BEST_EFFORT = "best_effort"
    """Whatever the system allows; what is missing is logged and shown."""
    OFF = "off"
    """Workers are ordinary processes of the scheduler's user; only their environment is stripped."""


class Measure(StrEnum):
    """One way in which a worker is shut in."""

    LIMITS = "limits"
    """Address space, CPU time, size of files and number of open ones are bounded, and there are no core dumps."""
    SYSTEM_CALLS = "system_calls"
    """The kernel refuses it sockets, other processes' signals and memory, and processes of its own unless allowed."""
    NAMESPACES = "namespaces"
    """User, network and IPC namespaces of its own: no interface, and no look into processes outside."""
    USER = "user"
    """Another user than the scheduler's, who cannot read the scheduler's files."""


INDISPENSABLE = frozenset({Measure.LIMITS, Measure.SYSTEM_CALLS})
"""Without these the worker is not isolated. Containers seldom grant namespaces, and the filter closes the network
too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What is asked of the system."""

    mode: IsolationMode = IsolationMode.BEST_EFFORT
    user: str | None = None
    """Become this user, which only root can; asked for by name, so never a best effort."""
    may_start_processes: bool = False
    """For rewards that run programs: these are confined like the reward and killed with it."""
    memory_bytes: int = 4 << 30
    """Address space of a worker."""
    file_bytes: int = 64 << 20
    """Size of a file that it writes."""
    open_files: int = 256
    """File descriptors at once."""
    environment: tuple[str, ...] = ()
    """The scheduler's variables that it sees beside the harmless ones."""


DEFAULT = Confinement()
"""Best effort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What is in force in a worker."""

    in_force: tuple[Measure, ...] = ()
    missing: Mapping[Measure, str] = field(default_factory=dict)
    """Measures that the system did not grant, each with what it said."""

    def lacking(self) -> str:
        """The indispensable measures that are missing, with their reasons; empty if there are none."""
        return "; ".join(f"{measure}: {self.missing[measure]}" for measure in Measure if self._lacks(measure))

    def _lacks(self, measure: Measure) -> bool:
        return measure in INDISPENSABLE and measure in self.missing
