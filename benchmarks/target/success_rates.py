"""A model's success rates at temperature 1, read from its own probabilities instead of from rollouts.

Owns: the forward passes. Needs torch. Invariant: a rate is the probability of exactly the tokens of the answer after
the prompt, in float32, so it has no sampling noise and does not depend on what else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPast


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A prompt and the completion that counts as right."""

    text: str
    """What the model reads."""
    target: str
    """What it has to go on with, up to and with the newline that stops it."""


class SuccessRates:
    """A model that says how probable right completions are."""

    def __init__(self, model: Path, *, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(model, local_files_only=True))
        self._model = cast(
            PreTrainedModel,
            AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, local_files_only=True),
        )
        self._model.train(mode=False)
        self._head = cast(torch.nn.Module, self._model.get_output_embeddings())  # type: ignore[no-untyped-call]  # theirs

    @torch.inference_mode()
    def of(self, tasks: Sequence[Task]) -> list[float]:
        """The probability of each task's target; fastest where the prompts share a beginning and a length."""
        return [exp(logprob) for logprob in self._logprobs([self._tokens(task) for task in tasks])]

    def _tokens(self, task: Task) -> tuple[list[int], list[int]]:
        """Prompt and target apart: a server tokenises the prompt alone, and a completion follows it."""
        encode = self._tokenizer.encode
        return encode(task.text, add_special_tokens=False), encode(task.target, add_special_tokens=False)

    def _logprobs(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """Summed log-probs of the targets (R rows, T tokens, H hidden, V tokens in the vocabulary)."""
        shared = _shared_prefix([prompt for prompt, _ in rows])
        texts = [(prompt + target)[shared:] for prompt, target in rows]
        ids_RT = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
        prefix = cast(
            BaseModelOutputWithPast,
            self._model.base_model(input_ids=torch.tensor([rows[0][0][:shared]]), use_cache=True),
        )
        cache = prefix.past_key_values
        cache.batch_repeat_interleave(len(rows))  # type: ignore[union-attr]  # with use_cache there is a cache
        # Padding is on the right, where causal attention never looks: no mask is needed.
        hidden_RTH = cast(Tensor, self._model.base_model(input_ids=ids_RT, past_key_values=cache).last_hidden_state)
        return [
            self._logprob(hidden_RTH[row, len(prompt) - shared - 1 :], target)
            for row, (prompt, target) in enumerate(rows)
        ]

    def _logprob(self, hidden_TH: Tensor, target: Sequence[int]) -> float:
        """Of a target whose first token is predicted by the first hidden state; the head sees nothing else."""
        logits_TV = cast(Tensor, self._head(hidden_TH[: len(target)]))
        chosen_T = logits_TV.log_softmax(-1).gather(-1, torch.tensor(target)[:, None])
        return float(chosen_T.sum())


def _shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with; one fewer than the shortest at most, so that each has its last to itself."""
    most = min(map(len, prompts)) - 1
    return next(
        (place for place in range(most) if len({prompt[place] for prompt in prompts}) > 1),
        most,
    )
