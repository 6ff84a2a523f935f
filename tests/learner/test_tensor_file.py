"""What is written piece by piece is the file that safetensors writes at once."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from learner.safetensors_header import stored_tensors
from learner.tensor_file import StoredTensors, TensorFile, entry_of, lay_out
from scheduler.core.errors import InvalidCheckpoint

TENSORS: dict[str, Tensor] = {
    "b": torch.arange(12.0).reshape(3, 4),
    "half": torch.arange(5.0).bfloat16(),
    "bytes": torch.arange(7, dtype=torch.uint8),
    "a.umlaut-\u00fc": torch.tensor(2.5),
    "none": torch.empty(0, 4),
}


def write(path: Path, tensors: dict[str, Tensor], *, length: int = 1000) -> None:
    lay_out(path, {name: entry_of(tensor) for name, tensor in tensors.items()})
    with TensorFile.writing(path, durable=True) as file:
        for name, tensor in reversed(tensors.items()):
            for first in range(0, tensor.numel(), length):
                file.write(name, first, tensor.flatten()[first : first + length])


@pytest.mark.parametrize("length", [1, 5, 1000])
@pytest.mark.parametrize("names", [("b",), ("b", "half"), tuple(TENSORS)])
def test_the_file_is_that_of_safetensors_byte_by_byte(tmp_path: Path, names: tuple[str, ...], length: int) -> None:
    tensors = {name: TENSORS[name] for name in names}
    write(tmp_path / "ours", tensors, length=length)
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_several_may_write_to_one_file_at_once(tmp_path: Path) -> None:
    lay_out(tmp_path / "f", {"b": entry_of(TENSORS["b"])})
    with (
        TensorFile.writing(tmp_path / "f", durable=False) as one,
        TensorFile.writing(tmp_path / "f", durable=False) as two,
    ):
        two.write("b", 5, torch.arange(5.0, 12.0))
        one.write("b", 0, torch.arange(0.0, 5.0))
    assert torch.equal(StoredTensors(tmp_path / "f")["b"], TENSORS["b"])


def test_a_file_that_is_there_is_not_laid_out_again(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("precious")
    with pytest.raises(FileExistsError):
        lay_out(tmp_path / "f", {})


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    lay_out(tmp_path / "f", {"b": entry_of(TENSORS["b"])})
    with TensorFile.writing(tmp_path / "f", durable=False) as file, pytest.raises(InvalidCheckpoint, match="b holds"):
        file.write("b", 0, torch.tensor([1.0, torch.inf]))
    assert torch.equal(StoredTensors(tmp_path / "f")["b"], torch.zeros(3, 4))


def test_a_tensor_is_written_in_the_type_it_was_laid_out_in() -> None:
    assert entry_of(TENSORS["b"], torch.bfloat16).dtype == "BF16"
    assert entry_of(TENSORS["b"]).dtype == "F32"


def test_stored_tensors_are_those_of_a_prefix_and_read_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "f", TENSORS)
    stored = StoredTensors(tmp_path / "f", "b")
    assert sorted(stored) == ["", "ytes"]
    assert len(stored) == 2
    assert torch.equal(stored["ytes"], TENSORS["bytes"])
    with pytest.raises(KeyError):
        stored["half"]
    assert [tensor.name for tensor in stored_tensors(tmp_path / "f")][-1] == "bytes"
