"""A sealed directory is complete or absent, and a changed byte shows."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from learner.safetensors_header import TensorEntry
from learner.sealed_directory import (
    MANIFEST,
    UNFINISHED,
    discard_unfinished,
    read_manifest,
    sealing,
    tensor_header,
    verify,
)
from scheduler.core.errors import InvalidCheckpoint


def sealed(path: Path, *, content: bytes = b"content", durable: bool = False) -> Path:
    with sealing(path, step=3, durable=durable) as unfinished:
        (unfinished / "inner").mkdir()
        (unfinished / "inner" / "file.bin").write_bytes(content)
        save_file({"weight": torch.zeros(2, 3, dtype=torch.bfloat16)}, unfinished / "w.safetensors")
    return path


@pytest.mark.parametrize("durable", [True, False])
def test_what_was_sealed_verifies_and_lists_files_and_tensors(tmp_path: Path, durable: bool) -> None:
    manifest = verify(sealed(tmp_path / "a" / "b", durable=durable))
    assert manifest.step == 3
    assert set(manifest.files) == {"inner/file.bin", "w.safetensors"}
    assert manifest.tensors == {"w.safetensors": {"weight": TensorEntry(dtype="BF16", shape=(2, 3))}}


def test_an_error_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="disk full"), sealing(tmp_path / "d", step=0, durable=False):
        raise RuntimeError("disk full")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_directory_is_never_replaced(tmp_path: Path) -> None:
    path = sealed(tmp_path / "d", content=b"first")
    with pytest.raises(FileExistsError):
        sealed(path, content=b"second")
    assert (path / "inner" / "file.bin").read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("name", ["inner/file.bin", "w.safetensors"])
def test_a_single_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    path = sealed(tmp_path / "d")
    damaged = bytearray((path / name).read_bytes())
    damaged[-1] ^= 1
    (path / name).write_bytes(damaged)
    with pytest.raises(InvalidCheckpoint, match=name):
        verify(path)


def test_a_missing_or_an_extra_file_is_found(tmp_path: Path) -> None:
    path = sealed(tmp_path / "d")
    (path / "extra").write_text("")
    (path / "w.safetensors").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"extra, w\.safetensors"):
        verify(path)


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"format": 1, "step": "three"}'])
def test_a_directory_without_a_readable_manifest_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = sealed(tmp_path / "d")
    (path / MANIFEST).unlink()
    if content is not None:
        (path / MANIFEST).write_bytes(content)
    with pytest.raises(InvalidCheckpoint, match=MANIFEST):
        read_manifest(path)


def test_a_manifest_of_an_unknown_format_is_refused(tmp_path: Path) -> None:
    path = sealed(tmp_path / "d")
    text = (path / MANIFEST).read_text()
    (path / MANIFEST).write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(InvalidCheckpoint, match="format 2"):
        verify(path)


def test_the_digest_stands_for_every_byte(tmp_path: Path) -> None:
    first = read_manifest(sealed(tmp_path / "first")).digest
    assert read_manifest(sealed(tmp_path / "same")).digest == first
    assert read_manifest(sealed(tmp_path / "other", content=b"contenT")).digest != first


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, (9).to_bytes(8, "little") + b'{"a": 1} '])
def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidCheckpoint, match="not a safetensors file"):
        tensor_header(path)


def test_leftovers_of_a_killed_writer_are_discarded_and_nothing_else(tmp_path: Path) -> None:
    path = sealed(tmp_path / "d")
    (tmp_path / f"{UNFINISHED}d-x").mkdir()
    discard_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_other_users_may_read_what_was_sealed(tmp_path: Path) -> None:
    path = sealed(tmp_path / "d")
    assert all(file.stat().st_mode & 0o004 for file in path.rglob("*"))
    assert path.stat().st_mode & 0o005 == 0o005
