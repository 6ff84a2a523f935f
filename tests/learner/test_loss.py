"""Each term of the loss, on numbers small enough to check by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.loss import Objective, TokenSums, policy_loss

UNCAPPED = Objective(importance_cap=math.inf)


def one_token(
    ratio: float, advantage: float, *, behind: float = 1.0, objective: Objective = UNCAPPED
) -> tuple[float, float, TokenSums]:
    """Loss, gradient of the log-prob, and sums of one token; `behind` is policy / behaviour before the step."""
    old = torch.tensor([[-2.0]])
    new = (old + math.log(ratio)).requires_grad_()
    loss, sums = policy_loss(
        logprobs_RT=new,
        old_logprobs_RT=old,
        behaviour_logprobs_RT=old - math.log(behind),
        advantages_R=torch.tensor([advantage]),
        mask_RT=torch.tensor([[True]]),
        num_tokens=1,
        objective=objective,
    )
    torch.autograd.backward(loss)
    assert new.grad is not None
    return loss.item(), new.grad.item(), sums


def test_on_policy_the_gradient_is_minus_the_advantage() -> None:
    assert one_token(1.0, 0.7)[1] == pytest.approx(-0.7)
    assert one_token(1.0, -0.7)[1] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "teaches", "counted"),
    [
        (1.27, 1.0, -1.27, True, None),
        (1.29, 1.0, -1.28, False, "clipped_high"),
        (0.5, 1.0, -0.5, True, None),
        (0.81, -1.0, 0.81, True, None),
        (0.79, -1.0, 0.8, False, "clipped_low"),
        (9.9, -1.0, 9.9, True, None),
        (10.1, -1.0, 10.0, False, "clipped_dual"),
    ],
)
def test_a_token_stops_teaching_outside_its_clip(
    ratio: float, advantage: float, loss: float, teaches: bool, counted: str | None
) -> None:
    value, gradient, sums = one_token(ratio, advantage)
    assert value == pytest.approx(loss, rel=1e-5)
    assert gradient == pytest.approx(-ratio * advantage if teaches else 0.0, rel=1e-5)
    counts = {name: getattr(sums, name) for name in ("clipped_high", "clipped_low", "clipped_dual")}
    assert counts == {name: float(name == counted) for name in counts}


def test_a_token_the_policy_likes_better_than_the_server_did_weighs_more_up_to_the_cap() -> None:
    capped = Objective(importance_cap=2.0)
    assert one_token(1.0, 1.0, behind=1.5, objective=capped)[1] == pytest.approx(-1.5)
    _, gradient, sums = one_token(1.0, 1.0, behind=5.0, objective=capped)
    assert gradient == pytest.approx(-2.0)
    assert sums.capped == 1.0


def test_mismatch_and_kl_measure_the_gap_to_the_server() -> None:
    _, _, sums = one_token(1.0, 1.0, behind=math.exp(-0.5))
    assert sums.mismatch == pytest.approx(0.5)
    assert sums.kl == pytest.approx(math.exp(-0.5) - 1 + 0.5, rel=1e-4)


# No deadline: the machine may be busy with servers.
@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(-3, 3), min_size=4, max_size=4),
    advantages=st.lists(st.floats(-3, 3), min_size=2, max_size=2),
    num_tokens=st.integers(1, 50),
)
def test_losses_of_micro_batches_add_up_to_the_loss_of_the_whole(
    gaps: list[float], advantages: list[float], num_tokens: int
) -> None:
    old_RT = torch.full((2, 2), -2.0)
    new_RT = old_RT + torch.tensor(gaps).view(2, 2)
    mask_RT = torch.tensor([[True, True], [True, False]])

    def loss_of(rows: slice) -> tuple[torch.Tensor, TokenSums]:
        return policy_loss(
            logprobs_RT=new_RT[rows],
            old_logprobs_RT=old_RT[rows],
            behaviour_logprobs_RT=old_RT[rows] + 0.1,
            advantages_R=torch.tensor(advantages)[rows],
            mask_RT=mask_RT[rows],
            num_tokens=num_tokens,
            objective=Objective(),
        )

    whole, whole_sums = loss_of(slice(0, 2))
    parts = [loss_of(slice(0, 1)), loss_of(slice(1, 2))]
    torch.testing.assert_close(whole, parts[0][0] + parts[1][0], rtol=1e-4, atol=1e-5)
    assert (parts[0][1] + parts[1][1]).num_tokens == whole_sums.num_tokens == 3
    assert whole_sums.kl >= 0


def test_padding_never_teaches() -> None:
    new_RT = torch.tensor([[-1.0, -1.0]], requires_grad=True)
    loss, _ = policy_loss(
        logprobs_RT=new_RT,
        old_logprobs_RT=new_RT,
        behaviour_logprobs_RT=new_RT.detach(),
        advantages_R=torch.tensor([1.0]),
        mask_RT=torch.tensor([[True, False]]),
        num_tokens=1,
        objective=UNCAPPED,
    )
    torch.autograd.backward(loss)
    assert new_RT.grad is not None
    assert new_RT.grad.tolist() == [[-1.0, 0.0]]
