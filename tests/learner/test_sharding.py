"""A policy that is cut into shards learns what it would learn in one piece."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from learner.loss import Objective
from learner.model_files import load_model
from learner.ranks import ALONE, Ranks
from learner.sharding import like, own, shard, span, whole
from learner.step_report import StepReport
from learner.trainer import Computation, Optimisation, Trainer
from scheduler.core.errors import LearnerError
from scheduler.core.types import Group
from tests.factories import make_group
from tests.learner.exact_model import exact_policy
from tests.learner.launch import on_ranks
from tests.learner.random_groups import random_batch, random_group

CASES: dict[str, tuple[Computation, list[list[Group]]]] = {
    "one micro-batch a rank": (Computation(), [random_batch(seed=1), random_batch(seed=2)]),
    "many micro-batches, not equally many on all ranks": (
        Computation(micro_batch_tokens=40),
        [random_batch(seed=3, num_groups=7)],
    ),
    "several updates a step and two halves": (
        Computation(mini_batches=2, half_batch_cosine=True, micro_batch_tokens=80),
        [random_batch(seed=4, num_groups=8), random_batch(seed=5, num_groups=3)],
    ),
    "less to compute than there are ranks": (Computation(), [[random_group(rewards=(1.0, 0.0), num_completions=1)]]),
    "completions of one token on some ranks": (
        Computation(),
        [[random_group(seed=6, max_new_tokens=1), random_group(seed=7, max_new_tokens=9)]],
    ),
    "nothing to learn": (Computation(), [[make_group(rewards=(1.0, 1.0))], random_batch(seed=8)]),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a case on one rank."""

    reports: list[StepReport]
    weights: dict[str, Tensor]
    num_held: int
    """Elements of weights that the rank holds."""


def trained(ranks: Ranks, case: str) -> Trained:
    """In float64, where another order of additions shows in the fifteenth digit, and a wrong one in the first."""
    computation, batches = CASES[case]
    model = exact_policy()
    if ranks.mesh is not None:
        shard(model, ranks.mesh, autocast=computation.autocast)
    trainer = Trainer(
        model,
        objective=Objective(),
        optimisation=Optimisation(learning_rate=1e-3, weight_decay=0.01, grad_clip=0.5),
        computation=computation,
        ranks=ranks,
    )
    reports = [trainer.step(groups, temperature=0.9) for groups in batches]
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return Trained(
        reports=reports,
        weights={name: whole(weight) for name, weight in weights.items()},
        num_held=sum(own(weight).numel() for weight in weights.values()),
    )


def all_trained(ranks: Ranks) -> dict[str, Trained]:
    return {case: trained(ranks, case) for case in CASES}


@pytest.fixture(scope="module", params=[2, 3], ids=["two ranks", "three ranks, among which no row count divides"])
def on_many(request: pytest.FixtureRequest) -> list[dict[str, Trained]]:
    """Every case on every rank, in one launch."""
    return on_ranks(request.param, all_trained)


@pytest.mark.parametrize("case", CASES)
def test_several_ranks_learn_what_one_learns(on_many: list[dict[str, Trained]], case: str) -> None:
    one = trained(ALONE, case)
    for rank in on_many:
        for name, weight in one.weights.items():
            torch.testing.assert_close(rank[case].weights[name], weight, rtol=1e-10, atol=1e-12)
        for theirs, ours in zip(rank[case].reports, one.reports, strict=True):
            told = {name: value for name, value in theirs.stats.items() if not name.endswith("_s")}
            expected = {name: value for name, value in ours.stats.items() if not name.endswith("_s")}
            # A group that is divided has its prompt computed by each rank that has a part of it.
            assert told.pop("num_prompt_tokens") >= expected.pop("num_prompt_tokens")
            assert told == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_no_rank_holds_more_than_its_part_of_the_weights(on_many: list[dict[str, Trained]]) -> None:
    first, *_ = CASES
    num_weights = sum(weight.numel() for weight in on_many[0][first].weights.values())
    held = [rank[first].num_held for rank in on_many]
    assert sum(held) == num_weights
    assert max(held) < 1.1 * num_weights / len(on_many)


def narrow(ranks: Ranks, checkpoint: Path | None) -> tuple[StepReport, set[torch.dtype]]:
    """A step in bfloat16 of the tiny Llama, or of a GPT-2, whose norms take no other type than their input's."""
    model = exact_policy().float() if checkpoint is None else load_model(checkpoint, torch.device("cpu"))  # type: ignore[no-untyped-call]  # transformers gives it no types
    if ranks.mesh is not None:
        shard(model, ranks.mesh, autocast=torch.bfloat16)
    trainer = Trainer(
        model,
        objective=Objective(),
        optimisation=Optimisation(learning_rate=1e-3),
        computation=Computation(autocast=torch.bfloat16),
        ranks=ranks,
    )
    return trainer.step(random_batch()), {parameter.dtype for parameter in model.parameters()}


@pytest.mark.parametrize("is_llama", [True, False])
def test_in_bfloat16_several_ranks_come_as_near_as_its_eight_bits_let_them(
    tiny_checkpoint: Path, is_llama: bool
) -> None:
    checkpoint = tiny_checkpoint if is_llama else None
    expected, _ = narrow(ALONE, checkpoint)
    for report, dtypes in on_ranks(2, narrow, checkpoint):
        assert dtypes == {torch.float32}
        assert report.loss == pytest.approx(expected.loss, rel=0.02)
        assert report.grad_norm == pytest.approx(expected.grad_norm, rel=0.02)


def without_layers(ranks: Ranks) -> str:
    model = exact_policy()
    model._no_split_modules = set()
    assert ranks.mesh is not None
    with pytest.raises(LearnerError) as caught:
        shard(model, ranks.mesh, autocast=torch.float32)
    return str(caught.value)


def test_a_model_that_names_no_layers_is_refused() -> None:
    assert all("does not say which of its modules are layers" in text for text in on_ranks(2, without_layers))


@pytest.mark.parametrize(("num_rows", "parts"), [(6, [2, 2, 2]), (7, [3, 3, 1]), (4, [2, 2, 0]), (1, [1, 0, 0])])
def test_rows_are_dealt_as_torch_deals_them(num_rows: int, parts: list[int]) -> None:
    tensor = torch.empty(num_rows, 5)
    spans = [span(tensor, index, Ranks(size=3)) for index in range(3)]
    assert [len(one) for one in spans] == [5 * part for part in parts]
    assert [element for one in spans for element in one] == list(range(tensor.numel()))


def test_of_a_tensor_that_is_not_sharded_a_rank_has_the_whole() -> None:
    tensor = torch.arange(3.0)
    copied = like(tensor, torch.zeros(3))
    assert torch.equal(own(tensor), copied)
    assert torch.equal(whole(tensor), copied)
    assert copied.data_ptr() != tensor.data_ptr()
