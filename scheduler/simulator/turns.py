"""Whose turn it is: the order in which prompts are claimable, and when an epoch ends.

Owns: which prompts are ready, waiting, or out, and the epoch's number. Never looks at success rates. Invariant: a
prompt is claimed or passed over at most once an epoch, whatever a rule asks for, so that none wins by replaying one.

The order is that of the informativeness table: fewest visits first, shuffled anew for each number of visits by the
seed, so that every rule meets the same prompts in the same order. An epoch is over once nothing is ready: every prompt
that does not wait has then been claimed or passed over once.
"""

from collections.abc import Iterable
from itertools import islice

import numpy as np


class Turns:
    """The ready prompts of one simulated run, in order."""

    def __init__(self, num_prompts: int, *, seed: int) -> None:
        self._seed = seed
        self._num_prompts = num_prompts
        self._shuffles: dict[int, list[float]] = {}
        self._visits = [0] * num_prompts
        self._turn_in = [-1] * num_prompts
        """The last epoch each prompt had its turn in."""
        self._waiting: dict[int, int] = {}
        """Weight version at which a prompt returns."""
        self._next: list[int] = []
        """Prompts whose next turn is in the next epoch."""
        self._ready: dict[int, None] = {}
        self.epoch = 0
        self._make_ready(range(num_prompts))

    def sample(self, limit: int) -> list[int]:
        """The first `limit` ready prompts; if there is none, the next epoch begins."""
        if not self._ready:
            self.epoch += 1
            ready, self._next = self._next, []
            self._make_ready(ready)
        return list(islice(self._ready, limit))

    def take(self, prompt: int) -> None:
        """Its turn: it was claimed or passed over."""
        del self._ready[prompt]
        self._visits[prompt] += 1
        self._turn_in[prompt] = self.epoch

    def put_back(self, prompt: int) -> None:
        """Its turn is over: it is claimable again in the next epoch."""
        self._next.append(prompt)

    def wait(self, prompt: int, version: int) -> None:
        """Its turn is over: it is claimable again in the next epoch from this weight version on."""
        self._waiting[prompt] = version

    def return_due(self, version: int) -> None:
        """Return waiting prompts whose weight version has come."""
        self._return([prompt for prompt, due in self._waiting.items() if due <= version])

    def return_earliest(self, count: int) -> None:
        """Return the `count` prompts that wait least, before their time: when nothing else is left to claim."""
        self._return(sorted(self._waiting, key=lambda prompt: self._waiting[prompt])[:count])

    def _return(self, prompts: Iterable[int]) -> None:
        ready: list[int] = []
        for prompt in prompts:
            del self._waiting[prompt]
            (self._next if self._turn_in[prompt] == self.epoch else ready).append(prompt)
        if ready:
            self._make_ready(ready)

    def _make_ready(self, prompts: Iterable[int]) -> None:
        self._ready = dict.fromkeys(sorted([*self._ready, *prompts], key=self._order))

    def _order(self, prompt: int) -> tuple[int, float]:
        visits = self._visits[prompt]
        if visits not in self._shuffles:
            rng = np.random.default_rng([self._seed, visits])
            self._shuffles[visits] = rng.random(self._num_prompts).tolist()
        return visits, self._shuffles[visits][prompt]
