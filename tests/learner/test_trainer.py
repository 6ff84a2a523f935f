"""A step moves the policy towards what was rewarded, repeatably, or says why it did not move."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel

from learner.batch import collate, mixed_groups
from learner.forward import completion_logprobs
from learner.loss import Objective
from learner.step_report import StepReport
from learner.trainer import Computation, Optimisation, Trainer
from scheduler.core.advantage import AdvantageKind
from scheduler.core.errors import InvalidCheckpoint, LearnerError
from scheduler.core.packed import Logprobs
from scheduler.core.types import Group
from tests.factories import make_group
from tests.learner.exact_model import exact_policy
from tests.learner.plain_rows import plain_loss
from tests.learner.random_groups import random_batch, random_group

Fresh = Callable[[], PreTrainedModel]


def trainer_of(
    model: PreTrainedModel,
    *,
    objective: Objective | None = None,
    optimisation: Optimisation | None = None,
    computation: Computation | None = None,
) -> Trainer:
    return Trainer(
        model,
        objective=objective or Objective(),
        optimisation=optimisation or Optimisation(learning_rate=1e-3),
        computation=computation or Computation(),
    )


UNCLIPPED = Optimisation(learning_rate=1e-3, grad_clip=math.inf)


def gradients_of_step(
    groups: list[Group], *, objective: Objective | None = None, computation: Computation | None = None
) -> tuple[dict[str, torch.Tensor], StepReport]:
    """The gradient of a float64 policy's first update, read off AdamW's first moment, which is a tenth of it."""
    trainer = trainer_of(exact_policy(), objective=objective, optimisation=UNCLIPPED, computation=computation)
    report = trainer.step(groups)
    moments = trainer.optimiser_tensors().items()
    return {name.removesuffix(".exp_avg"): 10 * m for name, m in moments if name.endswith(".exp_avg")}, report


def repetitive_batch() -> list[Group]:
    """Groups in which a few completions come many times, always the same, and often, and never."""
    return [
        random_group(seed=seed, rewards=(1.0, 0.0, 0.0, 0.25, 1.0, 0.0) * 2, num_completions=num_completions)
        for seed, num_completions in ((21, 3), (22, 1), (23, 4), (24, None))
    ]


def cosine(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    flat = [torch.cat([gradient.flatten() for gradient in one.values()]) for one in (left, right)]
    return float(torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0))


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def rewarded_advantage(model: PreTrainedModel, groups: list[Group]) -> float:
    """Advantage-weighted log-prob of the batch: what a step should raise."""
    rows = [group.rows for group in mixed_groups(groups, AdvantageKind.GRPO)]
    batch = collate(rows, torch.device("cpu"))
    with torch.no_grad():
        logprobs_RT = completion_logprobs(model, batch, temperature=1.0)
    return float((logprobs_RT.sum(dim=1) * batch.advantages_R).sum())


def honest(model: PreTrainedModel, groups: list[Group]) -> list[Group]:
    """The same groups with behaviour log-probs as this policy would have given them."""
    return [_honest(model, group) for group in groups]


def _honest(model: PreTrainedModel, group: Group) -> Group:
    (mixed,) = mixed_groups([group], AdvantageKind.GRPO)
    with torch.no_grad():
        logprobs_RT = completion_logprobs(model, collate([mixed.rows], torch.device("cpu")), temperature=1.0)
    rollouts = tuple(
        replace(rollout, logprobs=Logprobs.of(row[: len(rollout.token_ids)].tolist()))
        for rollout, row in zip(group.rollouts, logprobs_RT, strict=True)
    )
    return replace(group, rollouts=rollouts)


def test_a_step_makes_rewarded_rollouts_likelier(fresh_policy: Fresh) -> None:
    model = fresh_policy()
    groups = honest(model, random_batch())
    before = rewarded_advantage(model, groups)

    report = trainer_of(model).step(groups)

    assert rewarded_advantage(model, groups) > before
    assert report.num_updates == 1
    assert report.num_rows == report.num_distinct_rows == 14
    assert report.grad_norm > 0


def test_a_batch_without_a_mixed_group_changes_nothing_and_says_so(fresh_policy: Fresh) -> None:
    model = fresh_policy()
    before = weights(model)

    report = trainer_of(model).step([make_group(rewards=(1.0, 1.0)), make_group(rewards=(0.0,))])

    assert same(weights(model), before)
    assert (report.num_updates, report.num_mixed_groups, report.num_uniform_groups) == (0, 0, 2)
    assert all(value == 0 for name, value in report.stats.items() if name != "num_uniform_groups" and name != "pack_s")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Torch's threads, for one test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_the_same_batches_give_the_same_weights_bit_for_bit(fresh_policy: Fresh) -> None:
    models = fresh_policy(), fresh_policy()
    for model in models:
        computation = Computation(mini_batches=2, autocast=torch.bfloat16, half_batch_cosine=True)
        trainer = trainer_of(model, computation=computation)
        for seed in range(3):
            trainer.step([*random_batch(seed=seed), *repetitive_batch()])
    assert same(weights(models[0]), weights(models[1]))


@pytest.mark.parametrize("groups", [repetitive_batch(), random_batch()], ids=["many equal rollouts", "none"])
@pytest.mark.parametrize("tokens", [20, 150, 100_000])
def test_loss_and_gradient_are_those_of_plain_rollouts(groups: list[Group], tokens: int) -> None:
    groups = [replace(groups[0], selection_probability=0.5), *groups[1:]]
    objective = Objective(selection_weight_cap=1.5)
    plain = exact_policy()
    loss = plain_loss(plain, groups, objective)
    torch.autograd.backward(loss)

    gradients, report = gradients_of_step(
        groups, objective=objective, computation=Computation(micro_batch_tokens=tokens)
    )

    assert report.loss == pytest.approx(loss.item(), rel=1e-12, abs=1e-12)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-10, atol=1e-12)


def test_equal_rollouts_are_counted_but_computed_once() -> None:
    _, report = gradients_of_step(repetitive_batch())
    assert (report.num_rows, report.num_distinct_rows) == (48, 3 + 1 + 4 + 12)
    assert report.stats["num_distinct_rows"] == 20
    assert report.sums.num_tokens == sum(group.num_tokens for group in repetitive_batch())


def test_the_halves_of_an_update_add_up_to_its_gradient_and_their_cosine_is_reported() -> None:
    groups = [*random_batch(), make_group(rewards=(1.0, 1.0))]
    together, unmeasured = gradients_of_step(groups)
    summed, report = gradients_of_step(groups, computation=Computation(half_batch_cosine=True))
    first, second = (gradients_of_step(groups[start:4:2])[0] for start in (0, 1))

    for name, gradient in together.items():
        torch.testing.assert_close(summed[name], gradient, rtol=1e-10, atol=1e-12)
    assert report.grad_norm == pytest.approx(unmeasured.grad_norm, rel=1e-12)
    assert report.stats["half_batch_cosine"] == pytest.approx(cosine(first, second), rel=1e-9)
    assert "half_batch_cosine" not in unmeasured.stats


def test_the_cosine_is_averaged_over_the_updates_that_have_two_groups() -> None:
    groups = random_batch(num_groups=3)
    computation = Computation(mini_batches=2, half_batch_cosine=True)
    _, report = gradients_of_step(groups, computation=computation)
    _, only = gradients_of_step([groups[0], groups[2]], computation=Computation(half_batch_cosine=True))
    assert report.num_updates == 2
    assert report.half_batch_cosine == pytest.approx(only.half_batch_cosine, rel=1e-9)


@pytest.mark.parametrize("groups", [[], [random_group()], [random_group(), make_group(rewards=(0.0, 0.0))]])
def test_a_cosine_that_cannot_be_measured_is_absent(fresh_policy: Fresh, groups: list[Group]) -> None:
    report = trainer_of(fresh_policy(), computation=Computation(half_batch_cosine=True)).step(groups)
    assert report.half_batch_cosine is None
    assert "half_batch_cosine" not in report.stats
    assert all(math.isfinite(value) for value in report.stats.values())


def test_the_gradient_does_not_depend_on_how_a_batch_is_packed(fresh_policy: Fresh) -> None:
    norms = [
        trainer_of(fresh_policy(), computation=Computation(micro_batch_tokens=tokens)).step(random_batch()).grad_norm
        for tokens in (1, 60, 100_000)
    ]
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


def test_a_resumed_optimiser_continues_exactly(fresh_policy: Fresh) -> None:
    straight, resumed = trainer_of(fresh_policy()), trainer_of(fresh_policy())
    for trainer in (straight, resumed):
        trainer.step(random_batch(seed=1))

    successor = trainer_of(resumed.model)
    successor.restore(resumed.optimiser_tensors(), num_updates=resumed.num_updates)
    for trainer in (straight, successor):
        trainer.step(random_batch(seed=2))

    assert same(weights(straight.model), weights(successor.model))
    assert successor.num_updates == 2


def test_an_optimiser_state_of_another_model_is_refused(fresh_policy: Fresh) -> None:
    trainer = trainer_of(fresh_policy())
    trainer.step(random_batch())
    tensors = trainer.optimiser_tensors()
    name = "model.norm.weight.exp_avg"
    with pytest.raises(InvalidCheckpoint, match="another shape"):
        trainer_of(fresh_policy()).restore({**tensors, name: tensors[name][:3]}, num_updates=1)
    del tensors[name]
    with pytest.raises(InvalidCheckpoint, match=name):
        trainer_of(fresh_policy()).restore(tensors, num_updates=1)


def test_the_gradient_is_clipped_to_its_longest_allowed_norm(fresh_policy: Fresh) -> None:
    tight = Optimisation(learning_rate=1e-3, grad_clip=1e-6)
    report = trainer_of(fresh_policy(), optimisation=tight).step(random_batch())
    assert report.num_clipped_updates == 1
    assert report.grad_norm > 1e-6


def test_the_learning_rate_warms_up_over_updates_made(fresh_policy: Fresh) -> None:
    trainer = trainer_of(fresh_policy(), optimisation=Optimisation(learning_rate=0.4, warmup_updates=3))
    trainer.step([make_group(rewards=(1.0, 1.0))])
    rates = [trainer.step([random_group(seed=seed)]).learning_rate for seed in range(5)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


def test_an_update_that_is_not_finite_is_not_made(fresh_policy: Fresh) -> None:
    model = fresh_policy()
    before = weights(model)
    broken = random_group()
    rollouts = tuple(
        replace(rollout, logprobs=Logprobs.of([math.nan] * len(rollout.token_ids))) for rollout in broken.rollouts
    )
    trainer = trainer_of(model)

    with pytest.raises(LearnerError, match="nan"):
        trainer.step([replace(broken, rollouts=rollouts)])

    assert same(weights(model), before)
    assert trainer.step(random_batch()).num_updates == 1


def test_mini_batches_make_as_many_updates_and_later_ones_leave_the_first_policy(fresh_policy: Fresh) -> None:
    model = fresh_policy()
    groups = honest(model, random_batch())
    report = trainer_of(model, computation=Computation(mini_batches=2)).step(groups)
    assert report.num_updates == 2
    assert report.stats["mismatch_mean"] < 1e-5
    assert report.stats["ratio_mean"] != pytest.approx(1.0, abs=1e-4)


def test_uncomputed_rollouts_make_the_gradient_smaller_not_different(fresh_policy: Fresh) -> None:
    with_middle = random_group(rewards=(1.0, 0.5, 0.0))
    without = replace(with_middle, rollouts=(with_middle.rollouts[0], with_middle.rollouts[2]))
    norms = {}
    for name, group in (("with", with_middle), ("without", without)):
        # Dr. GRPO, because the standard deviation of GRPO depends on the middle rollout too.
        trainer = trainer_of(fresh_policy(), objective=Objective(advantage=AdvantageKind.DR_GRPO))
        norms[name] = trainer.step([group]).grad_norm
    assert norms["with"] == pytest.approx(norms["without"] * without.num_tokens / with_middle.num_tokens, rel=1e-4)
