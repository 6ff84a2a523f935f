"""One evaluation under way.

Owns: its attempts, tried again where they are lost, and its results. Never decides what is measured or at which
version. Invariants: results are written prompt by prompt, in the transaction that lands their attempts; every attempt
that was launched lands, also where the cap ends the evaluation.
"""

import asyncio
from collections.abc import Sequence

from scheduler.core.errors import BudgetExhausted
from scheduler.core.prefixes import leaders
from scheduler.core.types import Prompt
from scheduler.engine.measures import Measure, Question, Reading
from scheduler.engine.uninterrupted import uninterrupted
from scheduler.state.evaluations import EvaluationRecord, EvaluationStore, Measured

_PROMPTS_AT_ONCE = 64


class Measurement:
    """Measures prompts and keeps the evaluation's record."""

    def __init__(self, store: EvaluationStore, measure: Measure, record: EvaluationRecord) -> None:
        self._store = store
        self._sender = measure.sender
        self._measure = measure
        self.record = record
        self._room = asyncio.Semaphore(_PROMPTS_AT_ONCE)
        self._write = asyncio.Lock()
        self._capped: BudgetExhausted | None = None

    async def measure(self, prompts: Sequence[Prompt]) -> None:
        """Measure these prompts; raises BudgetExhausted over the cap, InvalidInput for one that cannot be measured."""
        questions = await self._measure.questions(prompts)
        first = {*leaders([question.prompt.input_ids for question in questions])}
        # One prompt of each few-shot beginning, and then the others, which find it in the servers' caches.
        await self._all([question for place, question in enumerate(questions) if place in first])
        await self._all([question for place, question in enumerate(questions) if place not in first])
        if self._capped is not None:
            raise BudgetExhausted(f"the evaluation cap is used up: {self._capped}") from self._capped

    async def _all(self, questions: Sequence[Question]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for question in questions:
                tasks.create_task(self._prompt(question), name=f"evaluate-{question.prompt.prompt_id}")

    async def _prompt(self, question: Question) -> None:
        prompt_id, measured, suspect = question.prompt.prompt_id, Measured(), False
        missing = self.record.num_rollouts
        async with self._room:
            tries = self._sender.config.max_attempts
            for attempt in range(tries):
                async with self._sender.turn(attempt, tries=tries, suspect=suspect):
                    if not await self._launch(missing):
                        return
                    reading = await self._measure.read(
                        question,
                        f"{self.record.evaluation_id}-{prompt_id}",
                        missing,
                        version=self.record.version or 0,
                        first=attempt * self.record.num_rollouts,
                    )
                missing, suspect = reading.landing.lost, reading.server_gone
                measured += reading.measured
                await uninterrupted(self._land(prompt_id, measured, reading))
                if not missing:
                    return

    async def _launch(self, count: int) -> bool:
        """False over the cap: nothing more is begun then, but what is in flight still lands."""
        if self._capped is not None:
            return False
        try:
            await uninterrupted(self._store.launch(count))
        except BudgetExhausted as error:
            self._capped = error
            return False
        return True

    async def _land(self, prompt_id: str, measured: Measured, reading: Reading) -> None:
        async with self._write:
            self.record = await self._store.land(self.record, prompt_id, measured, reading.landing)
