"""Several pools in one run: what prompts are called there, and whose turn it is.

Owns: names of prompts in a run, and turns by weight. Pure. Invariants: a prompt has one name in a run; while pools have
claimable prompts, none lags its share of the claims by more than one; a pool that could not take its turns gives
them away and does not claim them back later.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.core.errors import NotFound

_BETWEEN = ":"
"""It is in no pool's name, so the first one ends that."""
LEAST_WEIGHT, MOST_WEIGHT = 0.001, 1e6
"""Bounds of a pool's weight: turns are counted in 64 bits, also those that a pool lets pass beside one of the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolShare:
    """One of the pools of a run."""

    name: str
    weight: float = 1.0
    """Its part of the claims, relative to the other weights; 0.001 to 1,000,000."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """The pools of a run, one or several."""

    shares: tuple[PoolShare, ...]

    @property
    def is_mixed(self) -> bool:
        """Whether there are several: only then the ids of prompts are prefixed, and claims counted by pool."""
        return len(self.shares) > 1

    @property
    def names(self) -> tuple[str, ...]:
        """The pools' names, in the order that the run gives them in."""
        return tuple(share.name for share in self.shares)

    @property
    def label(self) -> str:
        """All of them in one word, for people."""
        return "+".join(self.names)

    def part(self, pool: str) -> float:
        """The share of claims that a pool is to have."""
        total = sum(share.weight for share in self.shares)
        return sum(share.weight for share in self.shares if share.name == pool) / total

    def name_of(self, pool: str, prompt_id: str) -> str:
        """What a prompt of a pool is called in the run."""
        return f"{pool}{_BETWEEN}{prompt_id}" if self.is_mixed else prompt_id

    def origin(self, name: str) -> tuple[str, str]:
        """The pool of a prompt of the run, and its id there; raises NotFound for what is no such name."""
        if not self.is_mixed:
            return self.shares[0].name, name
        pool, between, prompt_id = name.partition(_BETWEEN)
        if not between or pool not in self.names:
            asked = f"{self.names[0]}{_BETWEEN}{name}"
            raise NotFound(
                f"{name} is no prompt of a run that mixes pools: say of which, as in {asked}", field="prompt"
            )
        return pool, prompt_id

    def pool_of(self, name: str) -> str:
        """The pool of a prompt of the run; raises NotFound for what is no such name."""
        return self.origin(name)[0]


UNMIXED = Mixture((PoolShare(name=""),))
"""Of a run over one pool, whichever it is."""


def turns(mixture: Mixture, taken: Mapping[str, int], claimable: Mapping[str, int], wanted: int) -> tuple[str, ...]:
    """Share `wanted` claims out by weight (stride scheduling: Waldspurger and Weihl, MIT/LCS/TM-528, 1995).

    The pool of each turn, first things first; fewer than `wanted` where fewer prompts are claimable. `taken` are the
    turns that each pool has had, forfeited ones included. Each turn goes to the pool whose next one is due first, n
    turns of weight w being due at n / w, in the order of the pools where two are due at once.

    At the time t of a turn each pool i has had at least w_i t - 1 of them, and all together at most t sum(w): so none
    lags its share by more than one, and none is ahead by more than the others lag.
    """
    weights = {share.name: share.weight for share in mixture.shares}
    had = {name: taken.get(name, 0) for name in weights}
    order: list[str] = []
    left = {name: claimable.get(name, 0) for name in weights}
    for _ in range(wanted):
        able = [name for name in weights if left[name]]
        if not able:
            break
        turn = min(able, key=lambda name: (had[name] + 1) / weights[name])
        had[turn] += 1
        left[turn] -= 1
        order.append(turn)
    return tuple(order)


def forfeited(mixture: Mixture, taken: Mapping[str, int], claimable: Mapping[str, int]) -> Mapping[str, int]:
    """Turns that are over for pools without a claimable prompt, after others have had theirs.

    It is what they lag behind the slowest of those that have some, by turns really `taken`: what was wanted, and did
    not fit the budget, costs nobody a turn.
    """
    weights = {share.name: share.weight for share in mixture.shares}
    able = [name for name in weights if claimable.get(name, 0)]
    if not able:
        return {}
    slowest = min(taken.get(name, 0) / weights[name] for name in able)
    lags = {name: int(slowest * weights[name]) - taken.get(name, 0) for name in weights if name not in able}
    return {name: lag for name, lag in lags.items() if lag > 0}
