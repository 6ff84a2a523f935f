"""Sessions of several ranks: what one learner does, they do together, and each may go on where the others stopped."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from learner.assembly import assemble, assemble_bench
from learner.checkpoint import STATE, latest
from learner.fault import Fault
from learner.model_files import WEIGHTS
from learner.ranks import ALONE, Ranks
from learner.sealed_directory import MANIFEST
from learner.session import Ending, Session
from learner.settings import FloatFormat, Settings
from learner.weight_publish import CURRENT
from learner.work_dir import WorkDir
from scheduler.core.errors import StaleIncarnation
from scheduler.core.types import Group
from tests.learner.launch import Failed, on_ranks, outcomes_on_ranks
from tests.learner.random_groups import random_group
from tests.learner.scripted_link import ScriptedLink

RTOL, ATOL = 1e-4, 1e-6
"""Of weights in float32 after steps of 1e-4: AdamW divides a gradient by its own size, so that where it is next to zero
the last digits of a sum decide how far a weight moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """What a session did, as its scheduler saw it."""

    ending: Ending
    stats: list[dict[str, float]]
    checkpointed: list[int]


def batches(count: int) -> dict[int, list[Group]]:
    return {step: [random_group(seed=10 * step + index) for index in range(3)] for step in range(1, count + 1)}


def settings_of(checkpoint: Path, folder: Path) -> Settings:
    return Settings(
        run_id="run",
        model_path=checkpoint,
        work_dir=folder,
        learning_rate=1e-4,
        autocast=FloatFormat.FLOAT32,
        publish_format=FloatFormat.FLOAT32,
        device="cpu",
        checkpoint_every=2,
        rank_timeout_s=20.0,
    )


def live(ranks: Ranks, checkpoint: Path, folder: Path, num_steps: int, failing: str = "") -> Lived | None:
    """One session up to a step, or to the call at which it is replaced."""
    settings = settings_of(checkpoint, folder)
    if not ranks.leads:
        assemble_bench(settings, ranks).follow()
        return None
    link = ScriptedLink(batches(num_steps), failing={failing: StaleIncarnation("another learner is attached")})
    work_dir = WorkDir(root=folder)
    with work_dir.held():
        start = assemble(settings, work_dir, incarnation=f"{ranks.size}-{num_steps}", fault=Fault(), ranks=ranks)
        ending = asyncio.run(Session(link, start.workshop, start.progress, incarnation="i").run())
    return Lived(
        ending=ending,
        stats=[applied.stats for applied in link.applied_steps],
        checkpointed=link.checkpointed_steps,
    )


def live_on(num_ranks: int, *arguments: object) -> Lived:
    lived = live(ALONE, *arguments) if num_ranks == 1 else on_ranks(num_ranks, live, *arguments)[0]  # type: ignore[arg-type]
    assert lived is not None
    return lived


def final_tensors(folder: Path) -> dict[str, Tensor]:
    """Published weights and optimiser state at the end."""
    saved = latest(folder / "checkpoints")
    assert saved is not None
    return load_file(folder / "weights" / CURRENT / WEIGHTS) | load_file(saved.path / STATE)


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    torch.testing.assert_close(left, right, rtol=RTOL, atol=ATOL)


@pytest.fixture(scope="module")
def uninterrupted(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lived, dict[str, Tensor]]:
    """Four steps on one rank."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return live_on(1, tiny_checkpoint, folder, 4), final_tensors(folder)


def test_two_ranks_report_and_publish_what_one_does(
    uninterrupted: tuple[Lived, dict[str, Tensor]], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    one, tensors = uninterrupted
    two = live_on(2, tiny_checkpoint, tmp_path, 4)
    assert two.ending is one.ending is Ending.FINISHED
    assert two.checkpointed == one.checkpointed == [2, 4]
    for name in ("loss", "grad_norm", "num_tokens", "num_rows", "mismatch_mean"):
        assert [stats[name] for stats in two.stats] == pytest.approx([stats[name] for stats in one.stats], rel=1e-4)
    assert_same(final_tensors(tmp_path), tensors)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_ranks_goes_on_from_a_checkpoint_as_if_nothing_had_changed(
    uninterrupted: tuple[Lived, dict[str, Tensor]], tiny_checkpoint: Path, tmp_path: Path, before: int, after: int
) -> None:
    assert live_on(before, tiny_checkpoint, tmp_path, 2).checkpointed == [2]
    assert live_on(after, tiny_checkpoint, tmp_path, 4).checkpointed == [4]
    assert_same(final_tensors(tmp_path), uninterrupted[1])


@pytest.mark.parametrize("call", ["attach", "applied"])
def test_ranks_of_a_learner_that_was_replaced_leave_without_an_error_of_their_own(
    tiny_checkpoint: Path, tmp_path: Path, call: str
) -> None:
    leading, following = outcomes_on_ranks(2, live, tiny_checkpoint, tmp_path, 2, call)
    assert isinstance(leading, Failed)
    assert "StaleIncarnation" in leading.text
    assert following is None


def saved_again(ranks: Ranks, checkpoint: Path, folder: Path) -> None:
    """Resume, and write what was read once more."""
    settings = settings_of(checkpoint, folder)
    if not ranks.leads:
        assemble_bench(settings, ranks).follow()
        return
    start = assemble(settings, WorkDir(root=folder), incarnation="i", fault=Fault(), ranks=ranks)
    start.workshop.save(start.progress)
    start.workshop.lead.dismiss()


def test_a_checkpoint_is_the_same_bytes_however_many_ranks_write_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    live_on(1, tiny_checkpoint, tmp_path, 2)
    manifest = tmp_path / "checkpoints" / "step-00000002" / MANIFEST
    before = manifest.stat().st_mtime_ns, manifest.read_bytes()
    on_ranks(2, saved_again, tiny_checkpoint, tmp_path)
    assert manifest.stat().st_mtime_ns > before[0]
    assert manifest.read_bytes() == before[1]
