"""The two ways of measuring a prompt: rollouts that are judged, and the probability of the reference answer.

Owns: what is asked of a server to measure a prompt, and what its answers say. Never tries again, never writes.
Invariant: each attempt comes back as measured, failed or lost, and is told apart in what an attempt came to.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from inference.protocol import Score
from scheduler.core.errors import IllegalMove, InvalidInput
from scheduler.core.evaluation import EvaluationMeasure, probability, target_text
from scheduler.core.types import Prompt, Stage
from scheduler.engine.attempts import Sender
from scheduler.engine.flights import Volley
from scheduler.engine.judging import Lost, Recalled, Refused
from scheduler.state.evaluations import EvaluationLanding, EvaluationRecord, Measured
from scheduler.tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt to be measured."""

    prompt: Prompt
    target_ids: tuple[int, ...] = ()
    """Tokens whose probability is asked; none where rollouts are judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a number of attempts on one prompt came to."""

    measured: Measured
    landing: EvaluationLanding
    server_gone: bool = False
    """A server went away with one of them."""


class Measure(Protocol):
    """Asks servers what there is to measure of a prompt."""

    @property
    def sender(self) -> Sender:
        """What sends its attempts."""

    async def questions(self, prompts: Sequence[Prompt]) -> list[Question]:
        """What is asked of these prompts; raises InvalidInput naming one of which it cannot be asked."""

    async def read(self, question: Question, visit_id: str, count: int, *, version: int, first: int) -> Reading:
        """Make `count` attempts at once; `first` numbers them within the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRollouts:
    """Samples rollouts as the run does, and judges them by the pool's reward."""

    sender: Sender

    async def questions(self, prompts: Sequence[Prompt]) -> list[Question]:
        """The prompts as they are."""
        return [Question(prompt=prompt) for prompt in prompts]

    async def read(self, question: Question, visit_id: str, count: int, *, version: int, first: int) -> Reading:
        """Sample and judge; a lost rollout is charged at its worst case."""
        volley = Volley(prompt_id=question.prompt.prompt_id, stage=Stage.EVAL, num_wanted=count)
        judged = await self.sender.make(question.prompt, visit_id, volley, count, round_number=version, first=first)
        lost = len(judged.lost)
        return Reading(
            measured=Measured(
                correct=sum(rollout.correct for rollout in judged.rollouts),
                judged=len(judged.rollouts),
                failed=len(judged.failed),
                reason=judged.failed[-1] if judged.failed else "",
            ),
            landing=EvaluationLanding(
                judged=len(judged.rollouts),
                failed=len(judged.failed),
                lost=lost,
                tokens=judged.tokens + lost * self.sender.config.sampling.max_new_tokens,
                prompt_tokens=judged.prompt_tokens,
            ),
            server_gone=judged.server_gone,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """Reads the probability of the reference answer from a prefill: no token is generated."""

    sender: Sender
    tokenizer: Tokenizer
    target: str
    """The text after a prompt, with a place for its reference answer."""

    async def questions(self, prompts: Sequence[Prompt]) -> list[Question]:
        """Each prompt with the tokens of its reference answer, tokenised off the event loop."""
        return await asyncio.to_thread(lambda: [self._question(prompt) for prompt in prompts])

    def _question(self, prompt: Prompt) -> Question:
        if not prompt.answer:
            raise InvalidInput(f"prompt {prompt.prompt_id} has no reference answer: its probability cannot be read")
        return Question(prompt=prompt, target_ids=target_ids(self.tokenizer, prompt, self.target))

    async def read(self, question: Question, visit_id: str, count: int, *, version: int, first: int) -> Reading:
        """One attempt: it has no noise that a second would lessen."""
        volley = Volley(prompt_id=question.prompt.prompt_id, stage=Stage.EVAL, num_wanted=count)
        answer = await self.sender.score(question.prompt, question.target_ids, visit_id, volley, number=first)
        num_tokens = len(question.prompt.input_ids) + len(question.target_ids)
        match answer:
            case Score():
                measured = Measured(judged=1, probability=probability(answer.logprobs))
                return Reading(measured=measured, landing=_landing(judged=1, prompt_tokens=num_tokens))
            case Refused():
                return Reading(measured=Measured(failed=1, reason=answer.reason), landing=_landing(failed=1))
            case Lost():
                return Reading(measured=Measured(), landing=_landing(lost=1), server_gone=answer.server_gone)
            case Recalled():
                raise IllegalMove("an evaluation is never called back")


def _landing(*, judged: int = 0, failed: int = 0, lost: int = 0, prompt_tokens: int = 0) -> EvaluationLanding:
    return EvaluationLanding(judged=judged, failed=failed, lost=lost, tokens=0, prompt_tokens=prompt_tokens)


def target_ids(tokenizer: Tokenizer, prompt: Prompt, target: str) -> tuple[int, ...]:
    """Tokens of the reference answer as they follow the prompt's.

    Raises InvalidInput where the prompt's own tokens are not how the whole text begins: the policy would then be asked
    for another text than the one it samples.
    """
    answer = target_text(target, prompt.answer)
    if not prompt.text:
        return tokenizer.encode_bare(answer)
    whole, start = tokenizer.encode(prompt.text + answer), len(prompt.input_ids)
    if whole[:start] != prompt.input_ids or len(whole) == start:
        raise InvalidInput(
            f"prompt {prompt.prompt_id}: followed by {answer!r} its text is cut into other tokens than without it; "
            "begin the target where a token ends, as with a space",
            field="target",
        )
    return whole[start:]


async def measure_of(
    record: EvaluationRecord,
    sender_of: Callable[[str], Awaitable[Sender]],
    tokenizer_of: Callable[[str], Awaitable[Tokenizer]],
) -> Measure:
    """How an evaluation measures; raises InvalidInput if its pool's tokenizer is gone."""
    sender = await sender_of(record.pool)
    if record.measure is EvaluationMeasure.ROLLOUTS:
        return JudgedRollouts(sender=sender)
    return Likelihood(sender=sender, tokenizer=await tokenizer_of(record.pool), target=record.target)
