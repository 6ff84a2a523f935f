"""A directory of files that is either complete or absent, and can prove which.

Owns: writing a directory under a temporary name and renaming it into place, its manifest (sha256 and size of each file;
name, shape and dtype of each tensor), and checking a directory against that manifest. Never looks inside a tensor.
Invariant: a directory under its final name has a manifest that was written last and describes every file beside it.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from learner.safetensors_header import TensorEntry, stored_tensors
from scheduler.core.errors import InvalidCheckpoint

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished-"
FORMAT = 1


class FileEntry(BaseModel):
    """One file as it must be found again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    num_bytes: int


class Manifest(BaseModel):
    """What a sealed directory holds; paths are relative and use forward slashes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    step: int
    files: dict[str, FileEntry]
    tensors: dict[str, dict[str, TensorEntry]]
    """Tensors by safetensors file, then by name."""

    def encode(self) -> bytes:
        """The bytes of the manifest file, the same for the same content."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1).encode() + b"\n"

    @property
    def digest(self) -> str:
        """sha256 of the manifest's bytes: stands for every byte of the directory."""
        return hashlib.sha256(self.encode()).hexdigest()


@contextmanager
def sealing(path: Path, *, step: int, durable: bool) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; on a clean exit seal it and rename it to `path`.

    `durable` makes every byte survive a power cut before the name appears, at the price of waiting for the disk.
    Raises FileExistsError where `path` already exists. After an error nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{path.name}-", dir=path.parent))
    unfinished.chmod(0o755)
    try:
        yield unfinished
        _make_readable(unfinished)
        (unfinished / MANIFEST).write_bytes(describe(unfinished, step=step).encode())
        if durable:
            _sync(unfinished)
        _rename_new(unfinished, path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if durable:
        _sync_entry(path.parent)


def describe(directory: Path, *, step: int) -> Manifest:
    """Hash every file of `directory` and read the header of every safetensors file."""
    files = {name: _file_entry(directory / name) for name in _files(directory)}
    return Manifest(step=step, files=files, tensors=_tensors(directory, files))


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a sealed directory; raises InvalidCheckpoint where it is missing or not one of ours."""
    try:
        manifest = Manifest.model_validate_json((directory / MANIFEST).read_bytes())
    except (OSError, ValidationError) as exc:
        raise InvalidCheckpoint(f"{directory}: no readable {MANIFEST}: {exc}") from exc
    if manifest.format != FORMAT:
        raise InvalidCheckpoint(f"{directory}: manifest format {manifest.format}; this version knows {FORMAT}")
    return manifest


def verify(directory: Path) -> Manifest:
    """Check every byte of a sealed directory against its manifest; raises InvalidCheckpoint at the first difference."""
    manifest = read_manifest(directory)
    found = set(_files(directory)) - {MANIFEST}
    if found != set(manifest.files):
        difference = sorted(found ^ set(manifest.files))
        raise InvalidCheckpoint(f"{directory}: files differ from the manifest: {', '.join(difference)}")
    for name, entry in manifest.files.items():
        if _file_entry(directory / name) != entry:
            raise InvalidCheckpoint(f"{directory}: {name} differs from what the manifest says")
    if _tensors(directory, manifest.files) != manifest.tensors:
        raise InvalidCheckpoint(f"{directory}: the manifest lists other tensors than its files hold")
    return manifest


def tensor_header(path: Path) -> dict[str, TensorEntry]:
    """Names, shapes and dtypes of a safetensors file, without its tensors; raises InvalidCheckpoint for another."""
    return {found.name: TensorEntry(dtype=found.dtype, shape=found.shape) for found in stored_tensors(path)}


def discard_unfinished(parent: Path) -> None:
    """Delete what a killed process left half written in `parent`; nobody else may be writing there."""
    for leftover in parent.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _files(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def _tensors(directory: Path, names: Iterable[str]) -> dict[str, dict[str, TensorEntry]]:
    return {name: tensor_header(directory / name) for name in names if name.endswith(".safetensors")}


def _file_entry(path: Path) -> FileEntry:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(sha256=digest, num_bytes=path.stat().st_size)
    except OSError as exc:
        raise InvalidCheckpoint(f"{path}: cannot be read: {exc}") from exc


def _make_readable(directory: Path) -> None:
    """Let every user read what was written: servers may run as another user, and safetensors writes for its own."""
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _rename_new(source: Path, target: Path) -> None:
    """Rename a directory to a name that must be free: rename(2) alone would replace an empty directory."""
    if target.exists():
        raise FileExistsError(f"{target} already exists")
    try:
        source.rename(target)
    except OSError as exc:
        if target.exists():
            raise FileExistsError(f"{target} already exists") from exc
        raise


def _sync(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync_entry(path)
    _sync_entry(directory)


def _sync_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
