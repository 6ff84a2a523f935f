"""The allocators a run can name.

Owns: their names, and building one from a run's pilots, commits and parameters. Never decides anything. Adding a rule
touches its own module and this one; a user's own rule is named by its import path and touches neither.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

from scheduler.core.allocators.adaptive import Adaptive
from scheduler.core.allocators.dapo import Dapo, DapoCarry
from scheduler.core.allocators.greso import Greso
from scheduler.core.allocators.grpo import Grpo
from scheduler.core.allocators.imported import build_imported, is_import_path
from scheduler.core.allocators.interface import Allocator
from scheduler.core.allocators.mopps import Mopps
from scheduler.core.allocators.parameters import Number, check_parameters, signature_of
from scheduler.core.allocators.pilot_commit import PilotCommit
from scheduler.core.allocators.reinforce_ada import ReinforceAda
from scheduler.core.allocators.speed_rl import SpeedRl
from scheduler.core.errors import InvalidInput


class AllocatorName(StrEnum):
    """A rule that ships with the service."""

    GRPO = "grpo"
    """Uniform GRPO: a whole group for every prompt."""
    DAPO = "dapo"
    """Dynamic sampling as released: whole groups in rounds, uniform ones dropped, surplus discarded."""
    DAPO_CARRY = "dapo_carry"
    """Dynamic sampling on demand, surplus carried over."""
    SPEED_RL = "speed_rl"
    """A few screening rollouts; the rest for prompts on which they disagree."""
    GRESO = "greso"
    """Dynamic sampling that passes over prompts which taught nothing lately."""
    MOPPS = "mopps"
    """Whole groups for the candidates whose drawn success rate is closest to one half."""
    REINFORCE_ADA = "reinforce_ada"
    """Rounds of rollouts until a prompt has shown enough of both outcomes."""
    PILOT_COMMIT = "pilot_commit"
    """Pilot-Commit as released."""
    ADAPTIVE = "adaptive"
    """Ours: history, sequential pilots and group sizes by what a rollout is worth."""


def _grpo(*, pilots: int, commits: int) -> Grpo:
    """The uniform group that spends per trained prompt what pilots and commits together would."""
    return Grpo(group_size=pilots + commits)


_BUILDERS: Mapping[AllocatorName, Callable[..., Allocator]] = MappingProxyType(
    {
        AllocatorName.GRPO: _grpo,
        AllocatorName.DAPO: Dapo,
        AllocatorName.DAPO_CARRY: DapoCarry,
        AllocatorName.SPEED_RL: SpeedRl,
        AllocatorName.GRESO: Greso,
        AllocatorName.MOPPS: Mopps,
        AllocatorName.REINFORCE_ADA: ReinforceAda,
        AllocatorName.PILOT_COMMIT: PilotCommit,
        AllocatorName.ADAPTIVE: Adaptive,
    }
)


def build_allocator(name: str, *, pilots: int, commits: int, parameters: Mapping[str, Number]) -> Allocator:
    """The allocator of that name, or at that import path; parameters left out take the rule's defaults.

    Raises InvalidInput, saying what would be right, for an unknown name, an unknown parameter, a value of the wrong
    type, values that the rule itself refuses, or an import path that leads to no allocator.
    """
    if is_import_path(name):
        return build_imported(name, pilots=pilots, commits=commits, parameters=parameters)
    build = _BUILDERS[_known(name)]
    check_parameters(name, signature_of(name, build), parameters)
    return build(pilots=pilots, commits=commits, **parameters)


def _known(name: str) -> AllocatorName:
    try:
        return AllocatorName(name)
    except ValueError as exc:
        raise InvalidInput(
            f"there is no allocator {name!r}; there are {', '.join(AllocatorName)}, or your own as package.module:Name",
            field="allocator",
        ) from exc
