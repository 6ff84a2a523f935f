"""Published weights are complete before they have a name, and stay while somebody may load them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from learner.model_files import CompanionFiles
from learner.sealed_directory import UNFINISHED, read_manifest, verify
from learner.weight_publish import CURRENT, WeightPublisher
from scheduler.core.errors import InvalidCheckpoint

Fresh = Callable[[], PreTrainedModel]


@pytest.fixture
def publisher_of(tiny_checkpoint: Path, tmp_path: Path) -> Callable[[str], WeightPublisher]:
    companions = CompanionFiles.read(tiny_checkpoint)
    return lambda incarnation: WeightPublisher(
        tmp_path / "weights", companions, incarnation=incarnation, dtype=torch.bfloat16, keep=2
    )


PublisherOf = Callable[[str], WeightPublisher]


def test_published_weights_verify_and_their_digest_is_the_manifests(
    publisher_of: PublisherOf, fresh_policy: Fresh
) -> None:
    published = publisher_of("a").publish(fresh_policy(), step=4)
    assert published.path.is_absolute()
    assert verify(published.path).step == 4
    assert read_manifest(published.path).digest == published.manifest_digest
    dtypes = {entry.dtype for entry in verify(published.path).tensors["model.safetensors"].values()}
    assert dtypes == {"BF16"}


def test_current_always_points_at_the_newest(publisher_of: PublisherOf, fresh_policy: Fresh, tmp_path: Path) -> None:
    publisher, model = publisher_of("a"), fresh_policy()
    for step in (1, 2):
        published = publisher.publish(model, step=step)
        assert (tmp_path / "weights" / CURRENT).resolve() == published.path.resolve()


def test_a_failed_publication_leaves_current_and_no_remains(
    publisher_of: PublisherOf, fresh_policy: Fresh, tmp_path: Path
) -> None:
    publisher, model = publisher_of("a"), fresh_policy()
    good = publisher.publish(model, step=1)
    with torch.no_grad():
        model.get_parameter("model.norm.weight")[0] = float("nan")
    with pytest.raises(InvalidCheckpoint):
        publisher.publish(model, step=2)
    assert (tmp_path / "weights" / CURRENT).resolve() == good.path.resolve()
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {CURRENT, good.path.name}


def test_two_incarnations_never_write_the_same_directory(publisher_of: PublisherOf, fresh_policy: Fresh) -> None:
    model = fresh_policy()
    first = publisher_of("a").publish(model, step=1)
    second = publisher_of("b").publish(model, step=1)
    assert first.path != second.path
    verify(first.path)


def test_old_weights_go_unless_a_server_may_be_loading_them(publisher_of: PublisherOf, fresh_policy: Fresh) -> None:
    publisher, model = publisher_of("a"), fresh_policy()
    paths = [publisher.publish(model, step=step).path for step in range(5)]
    assert publisher.prune({str(paths[1])}) == [paths[2], paths[0]]
    assert [path.exists() for path in paths] == [False, True, False, True, True]
    assert publisher.prune(set()) == [paths[1]]


def test_weights_of_a_predecessor_are_pruned_too(publisher_of: PublisherOf, fresh_policy: Fresh) -> None:
    model = fresh_policy()
    old = publisher_of("a").publish(model, step=9).path
    successor = publisher_of("b")
    new = [successor.publish(model, step=step).path for step in (3, 4)]
    assert successor.prune(set()) == [old]
    assert all(path.exists() for path in new)


def test_what_a_killed_publisher_left_unfinished_is_cleared_away(publisher_of: PublisherOf, tmp_path: Path) -> None:
    leftover = tmp_path / "weights" / f"{UNFINISHED}step-00000001-a-x"
    leftover.mkdir(parents=True)
    publisher_of("b")
    assert not leftover.exists()
