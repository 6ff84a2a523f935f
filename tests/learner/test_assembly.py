"""What the learner's settings mean on the machine it runs on."""

import pytest
import torch

from learner.assembly import dtype_of, micro_batch_tokens
from learner.settings import FloatFormat
from scheduler.processor import has_native_bf16


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_floating_type_that_was_chosen_is_taken(device: str) -> None:
    assert dtype_of(FloatFormat.FLOAT32, torch.device(device)) is torch.float32
    assert dtype_of(FloatFormat.BF16, torch.device(device)) is torch.bfloat16


def test_left_to_itself_it_computes_in_what_the_hardware_has() -> None:
    assert dtype_of(FloatFormat.AUTO, torch.device("cuda")) is torch.bfloat16
    expected = torch.bfloat16 if has_native_bf16() else torch.float32
    assert dtype_of(FloatFormat.AUTO, torch.device("cpu")) is expected


def test_left_to_itself_it_computes_as_many_tokens_at_a_time_as_suit_the_device() -> None:
    assert micro_batch_tokens(None, torch.device("cpu")) == 1024
    assert micro_batch_tokens(None, torch.device("cuda")) == 16_384
    assert micro_batch_tokens(7, torch.device("cuda")) == 7
