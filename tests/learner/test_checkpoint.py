"""Only a checkpoint whose every byte is right is ever resumed from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from learner.checkpoint import PROGRESS, STATE, CheckpointWriter, Progress, latest
from learner.loss import Objective
from learner.model_files import CompanionFiles, load_model
from learner.sealed_directory import MANIFEST, UNFINISHED, describe
from learner.trainer import Computation, Optimisation, Trainer
from tests.learner.random_groups import random_batch

Fresh = Callable[[], PreTrainedModel]
Save = Callable[[int], Path]


def trainer_of(model: PreTrainedModel) -> Trainer:
    return Trainer(
        model,
        objective=Objective(),
        optimisation=Optimisation(learning_rate=1e-3, warmup_updates=3),
        computation=Computation(),
    )


def progress(step: int, num_updates: int = 0) -> Progress:
    return Progress(run_id="run", step=step, num_updates=num_updates, trained={step: ("group-1", "group-2")})


@pytest.fixture
def save(fresh_policy: Fresh, tiny_checkpoint: Path, tmp_path: Path) -> Save:
    trainer = trainer_of(fresh_policy())
    writer = CheckpointWriter(tmp_path, CompanionFiles.read(tiny_checkpoint), keep=2)
    return lambda step: writer.save(trainer, progress(step)).path


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_training_resumed_from_disk_equals_uninterrupted_training_bit_for_bit(
    fresh_policy: Fresh, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    straight = trainer_of(fresh_policy())
    writer = CheckpointWriter(tmp_path, CompanionFiles.read(tiny_checkpoint), keep=1)
    straight.step(random_batch(seed=1))
    straight.step(random_batch(seed=2))
    writer.save(straight, progress(2, straight.num_updates))
    random_state = torch.get_rng_state()
    straight.step(random_batch(seed=3))
    torch.rand(5)

    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    resumed = trainer_of(load_model(checkpoint.model_path, torch.device("cpu")))
    checkpoint.restore(resumed)
    assert torch.equal(torch.get_rng_state(), random_state)
    report = resumed.step(random_batch(seed=3))

    assert report.learning_rate == pytest.approx(0.75e-3)
    left, right = straight.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)
    moments = straight.optimiser_tensors(), resumed.optimiser_tensors()
    assert all(torch.equal(moments[0][name], moments[1][name]) for name in moments[0])


def test_a_checkpoint_before_the_first_update_restores_an_empty_optimiser(save: Save, fresh_policy: Fresh) -> None:
    checkpoint = latest(save(0).parent)
    assert checkpoint is not None
    trainer = trainer_of(fresh_policy())
    checkpoint.restore(trainer)
    assert trainer.optimiser_tensors() == {}


def test_progress_survives_the_disk(save: Save) -> None:
    checkpoint = latest(save(7).parent)
    assert checkpoint is not None
    assert checkpoint.progress == progress(7)


@pytest.mark.parametrize("file", [MANIFEST, PROGRESS, STATE, "model/model.safetensors", "model/config.json"])
@pytest.mark.parametrize("damage", [flip_a_byte, truncate, Path.unlink], ids=["flipped", "truncated", "missing"])
def test_a_damaged_checkpoint_is_passed_over_for_its_predecessor(
    save: Save, file: str, damage: Callable[[Path], None]
) -> None:
    save(1)
    newest = save(2)
    damage(newest / file)
    checkpoint = latest(newest.parent)
    assert checkpoint is not None
    assert checkpoint.progress.step == 1


def test_progress_that_makes_no_sense_is_passed_over_even_if_its_digest_is_right(save: Save) -> None:
    save(1)
    newest = save(2)
    (newest / PROGRESS).write_text('{"step": -1}')
    (newest / MANIFEST).unlink()
    (newest / MANIFEST).write_bytes(describe(newest, step=2).encode())
    checkpoint = latest(newest.parent)
    assert checkpoint is not None
    assert checkpoint.progress.step == 1


def test_an_unfinished_checkpoint_is_ignored_and_cleared_away(save: Save) -> None:
    root = save(1).parent
    unfinished = root / f"{UNFINISHED}step-00000002-x"
    unfinished.mkdir()
    checkpoint = latest(root)
    assert checkpoint is not None
    assert checkpoint.progress.step == 1
    assert not unfinished.exists()


def test_an_empty_directory_has_no_checkpoint(tmp_path: Path) -> None:
    assert latest(tmp_path) is None


def test_only_the_newest_are_kept(save: Save) -> None:
    root = save(1).parent
    save(2)
    save(3)
    assert sorted(path.name for path in root.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(save: Save) -> None:
    flip_a_byte(save(2) / STATE)
    checkpoint = latest(save(2).parent)
    assert checkpoint is not None
    assert checkpoint.progress.step == 2
