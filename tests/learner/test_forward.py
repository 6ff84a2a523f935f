"""Sharing a group's prompt and its equal completions changes the work, never the numbers."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from learner.batch import Rows, collate, mixed_groups
from learner.forward import completion_logprobs
from scheduler.core.advantage import AdvantageKind
from scheduler.core.types import Group
from tests.learner.plain_rows import plain_logprobs
from tests.learner.random_groups import random_batch, random_group

CPU = torch.device("cpu")
Fresh = Callable[[], PreTrainedModel]


def rows_of(groups: list[Group]) -> list[Rows]:
    return [group.rows for group in mixed_groups(groups, AdvantageKind.GRPO)]


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_gradients_equal_those_of_plain_rows(fresh_policy: Fresh, temperature: float) -> None:
    rows = rows_of(random_batch())
    shared, plain = fresh_policy(), fresh_policy()
    batch = collate(rows, CPU)
    weights_RT = torch.linspace(-1.0, 2.0, batch.completion_mask_RT.numel()).view(batch.completion_mask_RT.shape)

    logprobs_RT = completion_logprobs(shared, batch, temperature=temperature)
    torch.autograd.backward((logprobs_RT * weights_RT).sum())
    expected = [row for group in rows for row in plain_logprobs(plain, group, temperature)]
    weighted = [(row * weights_RT[index, : len(row)]).sum() for index, row in enumerate(expected)]
    torch.autograd.backward(torch.stack(weighted).sum())

    for index, row in enumerate(expected):
        torch.testing.assert_close(logprobs_RT[index, : len(row)], row, rtol=1e-5, atol=1e-5)
    assert gradients(shared).keys() == gradients(plain).keys() == dict(shared.named_parameters()).keys()
    for name, gradient in gradients(plain).items():
        # Float32 adds up in another order; test_trainer compares exactly, in float64.
        torch.testing.assert_close(gradients(shared)[name], gradient, rtol=1e-4, atol=1e-4)


def test_a_completion_that_many_rollouts_share_is_computed_once(fresh_policy: Fresh) -> None:
    rows = rows_of([random_group(rewards=(1.0, 0.0) * 8, num_completions=3)])
    model = fresh_policy()
    fed: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda _module, inputs, _output: fed.append(len(inputs[0])))

    logprobs_RT = completion_logprobs(model, collate(rows, CPU), temperature=1.0)

    assert fed == [1, 3]
    for index, row in enumerate(plain_logprobs(model, rows[0], 1.0)):
        torch.testing.assert_close(logprobs_RT[index, : len(row)], row, rtol=1e-5, atol=1e-5)


def test_completions_of_one_token_need_only_the_prompt(fresh_policy: Fresh) -> None:
    rows = rows_of([random_group(max_new_tokens=1)])
    model = fresh_policy()

    logprobs_RT = completion_logprobs(model, collate(rows, CPU), temperature=1.0)

    expected = torch.stack(plain_logprobs(model, rows[0], 1.0))
    torch.testing.assert_close(logprobs_RT, expected, rtol=1e-5, atol=1e-5)


def test_padding_has_logprob_zero_and_no_influence(fresh_policy: Fresh) -> None:
    groups = rows_of([random_group(seed=1, prompt_tokens=3), random_group(seed=2, prompt_tokens=40)])
    model = fresh_policy()

    together_RT = completion_logprobs(model, collate(groups, CPU), temperature=1.0)
    alone_RT = completion_logprobs(model, collate(groups[:1], CPU), temperature=1.0)

    num_rows, width = alone_RT.shape
    torch.testing.assert_close(together_RT[:num_rows, :width], alone_RT, rtol=1e-5, atol=1e-5)
    assert (together_RT[:num_rows, width:] == 0).all()


def test_autocast_in_bfloat16_returns_float32_and_stays_near(fresh_policy: Fresh) -> None:
    batch = collate(rows_of(random_batch()), CPU)
    model = fresh_policy()

    exact_RT = completion_logprobs(model, batch, temperature=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded_RT = completion_logprobs(model, batch, temperature=1.0)
    torch.autograd.backward(rounded_RT.sum())

    assert rounded_RT.dtype == torch.float32
    assert 0 < (rounded_RT - exact_RT).abs().max() < 0.2
    assert all(gradient.dtype == torch.float32 for gradient in gradients(model).values())
