"""How sure we are of an accuracy and of its gain, from several rollouts on each of a set of held-out prompts.

Owns: tallies and their 95 % intervals. Pure. Invariant: the prompt is the unit that was drawn, so rollouts of one
prompt never count as independent; intervals are for the population the prompts come from.

With p_i the success rate of prompt i of P: the estimate is the mean of p_i, its standard error s / sqrt(P), s the
standard deviation of p_i between prompts. This is the cluster-robust error (Liang and Zeger 1986) of prompts that weigh
the same; the rollouts' own noise is in s. An accuracy's interval is Wilson's (1927) with the number of independent
trials that has this error, so that it stays within [0, 1]; a gain's is Student's over the paired differences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import NormalDist, fmean, stdev

from scheduler.core.errors import InvalidInput
from scheduler.core.student import student

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Successes of one prompt's rollouts."""

    successes: float
    """Right answers; where a probability was read, as many as are expected."""
    rollouts: int
    """Rollouts that were judged; a failed one is not among them."""

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.rollouts:
            raise InvalidInput(f"{self.successes} successes of {self.rollouts} rollouts cannot be")

    @property
    def success_rate(self) -> float:
        """Share of successes; there must be a rollout."""
        return self.successes / self.rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Mean success rate over prompts with its 95 % interval."""

    estimate: float
    low: float
    high: float
    num_prompts: int
    num_rollouts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Accuracy after minus accuracy before, on the same prompts, with its 95 % interval."""

    estimate: float
    low: float
    high: float
    num_prompts: int
    num_rollouts: int
    """Before and after together."""


def accuracy(tallies: Mapping[str, Tally]) -> Accuracy:
    """Accuracy over prompts by id; prompts without a judged rollout are left out.

    Raises InvalidInput if none is left.
    """
    judged = [tally for tally in tallies.values() if tally.rollouts]
    if not judged:
        raise InvalidInput("no held-out prompt has a judged rollout: there is no accuracy to estimate")
    rates = [tally.success_rate for tally in judged]
    low, high = _wilson(rates)
    return Accuracy(
        estimate=fmean(rates),
        low=low,
        high=high,
        num_prompts=len(rates),
        num_rollouts=sum(tally.rollouts for tally in judged),
    )


def gain(before: Mapping[str, Tally], after: Mapping[str, Tally]) -> Gain:
    """Paired gain over the prompts judged both times.

    Raises InvalidInput where the prompts are not the same, or none was judged both times.
    """
    if before.keys() != after.keys():
        raise InvalidInput("a paired gain needs the same held-out prompts before and after")
    both = [key for key in before if before[key].rollouts and after[key].rollouts]
    if not both:
        raise InvalidInput("no held-out prompt was judged both before and after")
    start = accuracy({key: before[key] for key in both})
    end = accuracy({key: after[key] for key in both})
    differences = [after[key].success_rate - before[key].success_rate for key in both]
    below, above = _margins(differences, start, end)
    estimate = fmean(differences)
    return Gain(
        estimate=estimate,
        low=max(-1.0, estimate - below),
        high=min(1.0, estimate + above),
        num_prompts=len(both),
        num_rollouts=start.num_rollouts + end.num_rollouts,
    )


def _margins(differences: Sequence[float], start: Accuracy, end: Accuracy) -> tuple[float, float]:
    """How far the interval reaches below and above the mean difference.

    Where all differences agree their spread says nothing; the two accuracies' intervals are then joined as Newcombe
    (1998) does for unpaired proportions, which is wider.
    """
    spread = stdev(differences) if len(differences) > 1 else 0.0
    if spread > 0:
        margin = student(len(differences) - 1) * spread / sqrt(len(differences))
        return margin, margin
    return (
        hypot(end.estimate - end.low, start.high - start.estimate),
        hypot(end.high - end.estimate, start.estimate - start.low),
    )


def _wilson(rates: Sequence[float]) -> tuple[float, float]:
    """Wilson's interval at as many trials as have the standard error of the mean rate; one a prompt if it is 0."""
    rate, num_prompts = fmean(rates), len(rates)
    quantile = student(num_prompts - 1) if num_prompts > 1 else _Z
    variance = stdev(rates) ** 2 / num_prompts if num_prompts > 1 else 0.0
    trials = rate * (1 - rate) / variance if variance > 0 else float(num_prompts)
    weight = quantile**2 / trials
    centre = (rate + weight / 2) / (1 + weight)
    margin = quantile / (1 + weight) * sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    return max(0.0, min(rate, centre - margin)), min(1.0, max(rate, centre + margin))
