"""What is to go wrong, and when.

Owns: the kinds of faults, whom each can strike, and the plan. Never strikes. Invariant: pure; the same seed, duration
and count give the same plan, with the same number of each kind, dealt evenly over whom it can strike.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Target(StrEnum):
    """Whom a fault strikes: a process, or the link that leads to it."""

    SCHEDULER = "scheduler"
    """A scheduler, at work or standing by; the link between learner and schedulers."""
    LEARNER = "learner"
    """The learner."""
    SERVER = "server"
    """One of the servers; the link between the schedulers and it."""
    REDIS = "redis"
    """Redis; the link between one scheduler and it."""


class FaultKind(StrEnum):
    """What goes wrong."""

    KILL_SCHEDULER = "kill scheduler"
    """SIGKILL."""
    KILL_LEARNER = "kill learner"
    """SIGKILL."""
    KILL_SERVER = "kill server"
    """SIGKILL."""
    KILL_REDIS = "kill redis"
    """SIGKILL."""
    FREEZE = "freeze"
    """SIGSTOP, and SIGCONT a while later: beyond the lease's life, too."""
    CONNECTION_RESET = "connection reset"
    """Every connection of a link ends with a TCP reset, whatever is under way on it."""
    SLOW_REPLY = "slow reply"
    """Answers on a link are held back for a while."""
    TRUNCATED_REPLY = "truncated reply"
    """An answer breaks off in the middle."""
    STATUS_500 = "500"
    """Requests on a link are answered with 500 and never arrive."""
    STATUS_429 = "429"
    """Requests on a link are answered with 429 and never arrive."""
    FULL_DISK = "full disk"
    """Files of a process cannot grow for a while: its writes fail half done."""
    REDIS_RESTART = "redis restart"
    """SIGTERM: Redis leaves in order and comes back."""
    CLOCK_JUMP = "clock jump"
    """The wall-clock of a process jumps, by up to a day, in either direction."""
    LEASE_EXPIRED = "lease expired"
    """Redis's clock jumps past the lease's end: the standby takes the run from a scheduler that is alive."""


TARGETS: Mapping[FaultKind, tuple[Target, ...]] = {
    FaultKind.KILL_SCHEDULER: (Target.SCHEDULER,),
    FaultKind.KILL_LEARNER: (Target.LEARNER,),
    FaultKind.KILL_SERVER: (Target.SERVER,),
    FaultKind.KILL_REDIS: (Target.REDIS,),
    FaultKind.FREEZE: tuple(Target),
    FaultKind.CONNECTION_RESET: (Target.SCHEDULER, Target.SERVER, Target.REDIS),
    FaultKind.SLOW_REPLY: (Target.SCHEDULER, Target.SERVER, Target.REDIS),
    FaultKind.TRUNCATED_REPLY: (Target.SCHEDULER, Target.SERVER, Target.REDIS),
    FaultKind.STATUS_500: (Target.SCHEDULER, Target.SERVER),
    FaultKind.STATUS_429: (Target.SCHEDULER, Target.SERVER),
    FaultKind.FULL_DISK: (Target.LEARNER, Target.REDIS),
    FaultKind.REDIS_RESTART: (Target.REDIS,),
    FaultKind.CLOCK_JUMP: (Target.SCHEDULER, Target.LEARNER, Target.SERVER),
    FaultKind.LEASE_EXPIRED: (Target.REDIS,),
}
"""Whom each kind can strike."""

_SHORTEST_S, _LONGEST_S = 0.2, 5.0
_FARTHEST_JUMP_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong."""

    at_s: float
    """Since the beginning."""
    kind: FaultKind
    target: Target
    which: float
    """In [0, 1): which one of several."""
    lasts_s: float
    """For those that last."""
    jump_s: float
    """For those that jump."""


def make_plan(seed: int, *, duration_s: float, per_kind: int) -> list[Fault]:
    """So many faults of every kind over the duration, in order of time."""
    rng = random.Random(seed)
    faults = [fault for kind in FaultKind for fault in _of_kind(rng, kind, duration_s, per_kind)]
    return sorted(faults, key=lambda fault: fault.at_s)


def _of_kind(rng: random.Random, kind: FaultKind, duration_s: float, count: int) -> list[Fault]:
    targets = [TARGETS[kind][index % len(TARGETS[kind])] for index in range(count)]
    rng.shuffle(targets)
    width = duration_s / count
    return [
        Fault(
            # One in each part of the time, so that no kind comes all at once.
            at_s=(index + rng.random()) * width,
            kind=kind,
            target=target,
            which=rng.random(),
            lasts_s=_SHORTEST_S * (_LONGEST_S / _SHORTEST_S) ** rng.random(),
            jump_s=rng.uniform(-_FARTHEST_JUMP_S, _FARTHEST_JUMP_S),
        )
        for index, target in enumerate(targets)
    ]
