"""Gradients are set aside and put together again, whatever they are."""

import math

import pytest
import torch
from torch.nn import Parameter

from learner.half_batch import FirstHalf


def joined(first: list[list[float] | None], second: list[list[float] | None]) -> tuple[list[Parameter], float | None]:
    """Parameters after both halves gave them these gradients, and the cosine."""
    parameters = [Parameter(torch.zeros(2)) for _ in first]
    _give(parameters, first)
    half = FirstHalf(parameters)
    assert all(parameter.grad is None for parameter in parameters)
    _give(parameters, second)
    return parameters, half.join()


def _give(parameters: list[Parameter], gradients: list[list[float] | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else torch.tensor(gradient)


def test_the_cosine_is_over_all_parameters_and_gradients_add_up() -> None:
    parameters, cosine = joined([[1.0, 0.0], [2.0, 2.0]], [[0.0, 1.0], [2.0, -1.0]])
    assert cosine == pytest.approx(2.0 / (3.0 * math.sqrt(6.0)))
    assert [p.grad.tolist() for p in parameters if p.grad is not None] == [[1.0, 1.0], [4.0, 1.0]]


def test_a_parameter_that_one_half_does_not_reach_keeps_the_gradient_of_the_other() -> None:
    parameters, cosine = joined([[3.0, 4.0], None, None], [None, [0.0, 2.0], None])
    assert cosine == 0.0
    assert [None if p.grad is None else p.grad.tolist() for p in parameters] == [[3.0, 4.0], [0.0, 2.0], None]


@pytest.mark.parametrize("first", [0.0, math.nan, math.inf])
def test_halves_without_a_finite_length_have_no_cosine(first: float) -> None:
    assert joined([[first, first]], [[1.0, 1.0]])[1] is None


def test_rounding_never_takes_a_cosine_beyond_one() -> None:
    _, cosine = joined([[0.1, 0.3]], [[0.2, 0.6]])
    assert cosine is not None
    assert 1 - 1e-6 < cosine <= 1.0
