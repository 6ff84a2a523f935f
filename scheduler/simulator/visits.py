"""Simulated visits that were judged worth a group: while they wait for a slot, and while their group waits for a batch.

Owns: what is kept of each. Never moves one on.
"""

from dataclasses import dataclass

from scheduler.core.allocators.interface import ReadyGroup
from scheduler.core.informativeness import Evidence
from scheduler.simulator.rollouts import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """A visit judged worth a group, which waits for a slot."""

    prompt: int
    evidence: Evidence
    tally: Tally
    version: int
    """Of its pilots."""
    commits: int
    """Rollouts that its group still lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A group that waits for a batch."""

    prompt: int
    tally: Tally
    ready: ReadyGroup
