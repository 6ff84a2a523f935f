"""What is foreseen of prompts that a run has not visited.

Owns: the run's latest visits, the forecast fitted to them, and the n-grams of prompts that were looked at. Never ranks
and never writes. Invariant: it knows nothing that this scheduler has not seen; a restarted one begins without a
forecast, and has another after a few dozen visits.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from scheduler.core.forecast import Forecast, Seen, fit_forecast
from scheduler.core.ngrams import Ngrams, ngrams
from scheduler.core.prior import Prior
from scheduler.core.types import Prompt, Rollout
from scheduler.state.run_pools import RunPools

_VISITS_FITTED = 512
"""The latest visits count: fitting takes their number cubed, and older ones are of another policy."""
_PROMPTS_KEPT = 8192
"""N-grams kept in memory, 1.5 kB each at most: prompts that are ranked again and again are read once."""


class Foresight:
    """The forecasts of one run."""

    def __init__(self, pools: RunPools, *, discount: float) -> None:
        self.forecast: Forecast | None = None
        """None while wording is not known to tell anything."""
        self._pools = pools
        self._discount = discount
        self._visits: deque[Seen] = deque(maxlen=_VISITS_FITTED)
        self._ngrams: dict[str, Ngrams] = {}

    def saw(self, prompt: Prompt, rollouts: Sequence[Rollout], *, version: int) -> None:
        """A visit has ended with these rollouts, at a weight version."""
        right = sum(rollout.correct for rollout in rollouts)
        self._visits.append(Seen(ngrams=self._read(prompt), right=right, count=len(rollouts), version=version))

    async def refit(self, prior: Prior, *, version: int) -> None:
        """Fit anew to what was seen; `prior` is what a forecast has to be better than."""
        # Off the event loop: it may take a tenth of a second.
        self.forecast = await asyncio.to_thread(
            fit_forecast, tuple(self._visits), prior, version=version, discount=self._discount
        )

    async def priors(self, prompt_ids: Sequence[str]) -> dict[str, Prior]:
        """The foreseen prior of each prompt; none at all without a forecast."""
        forecast = self.forecast
        if forecast is None:
            return {}
        unread = [prompt_id for prompt_id in prompt_ids if prompt_id not in self._ngrams]
        places = {prompt_id: self._ngrams[prompt_id] for prompt_id in prompt_ids if prompt_id in self._ngrams}
        for prompt in await self._pools.prompts(unread):
            places[prompt.prompt_id] = self._read(prompt)
        return {prompt_id: forecast.prior(places[prompt_id]) for prompt_id in prompt_ids}

    def prior(self, prompt: Prompt) -> Prior | None:
        """The foreseen prior of one prompt."""
        return None if self.forecast is None else self.forecast.prior(self._read(prompt))

    def _read(self, prompt: Prompt) -> Ngrams:
        found = self._ngrams.pop(prompt.prompt_id, None)
        places = ngrams(prompt.input_ids) if found is None else found
        # The dict keeps the order of use: what was not looked at for longest is first.
        self._ngrams[prompt.prompt_id] = places
        if len(self._ngrams) > _PROMPTS_KEPT:
            del self._ngrams[next(iter(self._ngrams))]
        return places
