"""A sharded model reaches a file on rank 0 as it is, without ever being there as a whole."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from learner.gathering import gathered, send
from learner.model_files import WEIGHTS, CompanionFiles, load_model, send_model, unique_tensors, write_model
from learner.ranks import ALONE, Ranks
from learner.sharding import shard
from tests.learner.allocations import peak_bytes
from tests.learner.launch import Failed, on_ranks, outcomes_on_ranks

CPU = torch.device("cpu")
PIECE_BYTES = 1000


def test_the_measure_of_memory_counts_what_is_held_at_once() -> None:
    def make() -> None:
        kept = torch.empty(1000)
        for _ in range(3):
            torch.empty(500)
        del kept

    assert peak_bytes(make) == 4 * (1000 + 500)


def cut(ranks: Ranks, checkpoint: Path) -> PreTrainedModel:
    model = load_model(checkpoint, CPU)
    if ranks.mesh is not None:
        shard(model, ranks.mesh, autocast=torch.float32)
    return model


def written(ranks: Ranks, checkpoint: Path, folder: Path, dtype: torch.dtype) -> int:
    """Publishes the model; what this rank held meanwhile, beside its shards."""
    model, companions = cut(ranks, checkpoint), CompanionFiles.read(checkpoint)
    if ranks.leads:
        return peak_bytes(lambda: write_model(model, companions, folder, dtype=dtype, ranks=ranks))
    return peak_bytes(lambda: send_model(model, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_ranks_write_the_file_that_one_writes_and_hold_less_than_two_tensors_for_it(
    tiny_checkpoint: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    held = on_ranks(2, written, tiny_checkpoint, tmp_path / "two", dtype)
    written(ALONE, tiny_checkpoint, tmp_path / "one", dtype)

    content = (tmp_path / "two" / WEIGHTS).read_bytes()
    assert content == (tmp_path / "one" / WEIGHTS).read_bytes()
    largest = max(tensor.numel() for tensor in unique_tensors(load_model(tiny_checkpoint, CPU)).values())
    assert max(held) <= 2 * dtype.itemsize * largest < len(content) / 3


def in_pieces(ranks: Ranks, checkpoint: Path) -> tuple[int, dict[str, Tensor]]:
    """The most that was held, in bytes, and what rank 0 got."""
    model = cut(ranks, checkpoint)
    tensors = unique_tensors(model)
    sizes = {name: tensor.numel() for name, tensor in tensors.items()}
    got = {name: torch.full((size if ranks.leads else 0,), torch.nan) for name, size in sizes.items()}

    def go_through() -> None:
        for name, tensor in tensors.items():
            if not ranks.leads:
                send(tensor, dtype=torch.float32, piece_bytes=PIECE_BYTES)
                continue
            for first, piece_N in gathered(tensor, ranks, dtype=torch.float32, piece_bytes=PIECE_BYTES):
                assert piece_N.nbytes <= PIECE_BYTES
                got[name][first : first + piece_N.numel()] = piece_N

    return peak_bytes(go_through), got


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_no_more_than_two_pieces_are_held_however_large_the_tensors_are(tiny_checkpoint: Path, num_ranks: int) -> None:
    leading, *others = on_ranks(num_ranks, in_pieces, tiny_checkpoint)
    whole = unique_tensors(load_model(tiny_checkpoint, CPU))
    assert all(torch.equal(leading[1][name], tensor.flatten()) for name, tensor in whole.items())
    assert max(held for held, _ in (leading, *others)) <= 2 * PIECE_BYTES


def spoilt(ranks: Ranks, checkpoint: Path, folder: Path) -> None:
    """The last row, which rank 1 holds, has a weight that is not finite."""
    model = load_model(checkpoint, CPU)
    with torch.no_grad():
        model.get_parameter("model.norm.weight")[-1] = torch.inf
    assert ranks.mesh is not None
    shard(model, ranks.mesh, autocast=torch.float32)
    if ranks.leads:
        write_model(model, CompanionFiles.read(checkpoint), folder, dtype=torch.float32, ranks=ranks)
    else:
        send_model(model, dtype=torch.float32)


def test_a_weight_of_another_rank_that_is_not_finite_reaches_no_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    leading, _ = outcomes_on_ranks(2, spoilt, tiny_checkpoint, tmp_path / "spoilt")
    assert isinstance(leading, Failed)
    assert "InvalidCheckpoint: model.norm.weight holds a value that is not finite" in leading.text
    assert not (tmp_path / "spoilt" / WEIGHTS).exists()
