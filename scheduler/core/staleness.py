"""Staleness by pacing: every limit here follows from one bound, `max_staleness`, written S below, and from how many
batches may be sampled ahead of the one being trained, A <= S.

Owns: what staleness is, and how many groups and pilots may be under way so that it stays within S. Never drops a group:
scheduler (before it spends) and learner (before it trains) call the same functions and act on the answer.

Terms. P, policy version: of the weights the learner has now; training one batch of B groups adds one. L, live version:
what the fleet samples with. lag = P - L. n, outstanding: committing + published + unapplied groups. A group with oldest
version v is fresh when consumed at a policy version c with c - v <= S; that comparison, made by the consumer, is the
guarantee, and everything else here only keeps it from firing.

Proof note. Call the outstanding groups *feasible* if, sorted by v, the i-th from 0 has P + i // B - v_i <= S: trained
oldest first, B at a time, all are fresh. Equivalently, for every j >= 0 at most (j + 1) B of them have v + S <= P + j.

1. Admission keeps feasibility. A group that joins n others is admitted only if v + S >= P + n // B (`will_be_fresh`).
   It adds to the count of j only for j >= n // B, and there (j + 1) B >= (n // B + 1) B >= n + 1: all of them fit.
2. Free slots are admission for new work. A group sampled from now on has v >= L. With n < (A + 1 - lag) B
   (`free_slots` > 0), n // B <= A - lag, so P + n // B <= P + A - lag = L + A <= v + S. Only a survivor whose pilots
   are older than L needs the explicit test; it passes if they are older by S - A versions at most.
3. Training the B oldest keeps feasibility: i becomes i - B as P becomes P + 1. Groups finish out of order, so a batch
   of finished ones may leave older ones behind; it may go ahead exactly if those are feasible at P + 1
   (`all_will_be_fresh`), and waits for them otherwise. A group that fails or expires only makes room.

By 1 to 3 no group consumed is staler than S, and while nothing is lost the wait in 3 is only for groups under way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.errors import InvalidInput


def staleness(policy_version: int, oldest_version: int) -> int:
    """Weight versions between the learner's weights now and the oldest token of a rollout or group."""
    return policy_version - oldest_version


def is_fresh(policy_version: int, oldest_version: int, max_staleness: int) -> bool:
    """Whether a group may be consumed now: the check that is the guarantee."""
    return staleness(policy_version, oldest_version) <= max_staleness


def free_slots(outstanding: int, batch_size: int, batches_ahead: int, lag: int) -> int:
    """Groups that may still be started with the live weights: max(0, (A + 1 - lag) B - n)."""
    return max(0, (batches_ahead + 1 - lag) * batch_size - outstanding)


def will_be_fresh(
    oldest_version: int, policy_version: int, outstanding: int, batch_size: int, max_staleness: int
) -> bool:
    """Whether a group that joins behind `outstanding` others can still be consumed fresh.

    Its turn comes at policy version P + n // B at the earliest if it goes last.
    """
    return is_fresh(policy_version + outstanding // batch_size, oldest_version, max_staleness)


def next_batch_version(policy_version: int, *, is_batch_out: bool) -> int:
    """The policy version at which the next batch that is not yet composed is consumed, at the earliest.

    While the learner has a batch, that is after it has trained it.
    """
    return policy_version + is_batch_out


def all_will_be_fresh(oldest_versions: Sequence[int], policy_version: int, batch_size: int, max_staleness: int) -> bool:
    """Whether groups with these oldest versions are all fresh when trained oldest first from this policy version on.

    Ask it of the groups a batch would leave behind, at `policy_version + 1`: if it says no, the batch waits.
    """
    return all(
        is_fresh(policy_version + index // batch_size, oldest, max_staleness)
        for index, oldest in enumerate(sorted(oldest_versions))
    )


def pilot_demand(free_slots: int, held: int, pass_rate: float, cap: int) -> int:
    """Prompts that may be in their pilots at once: ceil((free - held) / pass rate), at least 0 and at most `cap`.

    `held` survivors already claim their slots; `pass_rate` in (0, 1] is the share of piloted prompts that commit.
    """
    return max(0, min(cap, math.ceil((free_slots - held) / pass_rate)))


def careful_pilot_demand(free_slots: int, pass_rate: float, cap: int) -> int:
    """Prompts that may be in their pilots at once where nobody waits for them: seldom more survive than have a slot.

    A survivor without a slot is too stale at once where A = S (proof note, 1: its pilots are of version L or older, and
    n is at the bound), so its pilots are wasted. Of N prompts Binomial(N, p) survive; this is the largest N whose mean
    plus one standard deviation, N p + sqrt(N p (1 - p)), fits into the free slots, but at least 1 while there is one.
    """
    if free_slots <= 0:
        return 0
    spread = math.sqrt(pass_rate * (1.0 - pass_rate))
    root = (math.sqrt(spread * spread + 4.0 * pass_rate * free_slots) - spread) / (2.0 * pass_rate)
    return min(cap, max(1, math.floor(root * root)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRate:
    """The share of visits that end in a commit: a discounted Beta(1, 1) posterior mean.

    It starts at 1/2 and never leaves [1 / (memory + 2), (memory + 1) / (memory + 2)], so that a streak of rejected
    prompts cannot ask for infinitely many pilots. Raises InvalidInput for a memory below 1.
    """

    memory: float = 128.0
    """Visits over which old ones are forgotten: each new visit multiplies the weight of the rest by 1 - 1 / memory."""
    passed: float = 0.0
    """Discounted visits that ended in a commit."""
    seen: float = 0.0
    """Discounted visits."""

    def __post_init__(self) -> None:
        if not 1.0 <= self.memory < math.inf:
            raise InvalidInput(f"a pass rate remembers at least one visit, not {self.memory}", field="memory")

    def observed(self, passed: bool) -> "PassRate":
        """The estimate after one more visit."""
        kept = 1.0 - 1.0 / self.memory
        return PassRate(memory=self.memory, passed=kept * self.passed + passed, seen=kept * self.seen + 1.0)

    @property
    def rate(self) -> float:
        """Expected share, in (0, 1)."""
        return (self.passed + 1.0) / (self.seen + 2.0)
