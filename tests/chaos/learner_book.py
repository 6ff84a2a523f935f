"""What a stand-in learner leaves on disk: its checkpoints, its weights, and everything it was given.

Owns: these files and their formats, both ends. Never trains and never asks anybody. Invariants: a checkpoint is
complete or absent; what was delivered is on disk before it is trained on, and is never deleted.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from safetensors.numpy import load_file, save_file

from inference.fake import fingerprint
from scheduler.core.types import Group
from scheduler.frames import FrameDecoder, GroupFrame, encode

_KEPT_WEIGHTS = 3
_WEIGHTS = "model.safetensors"


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint."""

    step: int = 0
    lineage: dict[int, tuple[str, ...]] = {}
    """Groups of every step that its policy was ever trained on."""
    unreported: dict[int, tuple[str, ...]] = {}
    """Those of the steps since the checkpoint before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Weights that a server can load."""

    path: Path
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerBook:
    """The folder of one run's learner."""

    folder: Path

    @classmethod
    def opened(cls, folder: Path) -> "LearnerBook":
        """The book in a folder that need not exist yet."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder=folder)

    # Written by the learner.

    def save(self, saved: Saved) -> None:
        """Replace the checkpoint."""
        unfinished = self.folder / ".checkpoint"
        unfinished.write_bytes(msgspec.json.encode(saved))
        os.replace(unfinished, self.folder / "checkpoint.json")

    def deliver(self, incarnation: str, frame: GroupFrame) -> None:
        """Note a group down before anything is done with it."""
        with (self.folder / f"delivered-{incarnation}").open("ab") as file:
            file.write(encode(frame))

    def publish(self, model: Path, *, step: int, incarnation: str) -> Published:
        """Write weights that no other step and no other incarnation has."""
        path = self.folder / "weights" / f"step-{step:06d}-{incarnation}"
        path.mkdir(parents=True, exist_ok=True)
        tensors = load_file(model / _WEIGHTS)
        name = min(tensors)
        seed = int.from_bytes(sha256(path.name.encode()).digest()[:8], "big")
        tensors[name] = np.random.default_rng(seed).normal(size=tensors[name].shape).astype(tensors[name].dtype)
        save_file(tensors, path / _WEIGHTS)
        digest = str(fingerprint(str(path)))
        with (self.folder / f"published-{incarnation}.ndjson").open("a") as file:
            file.write(json.dumps({"path": str(path), "digest": digest}) + "\n")
        return Published(path=path, digest=digest)

    def prune(self, in_use: Collection[str]) -> None:
        """Delete old weights that nobody may still be loading."""
        known = sorted((self.folder / "weights").glob("step-*"), key=lambda path: path.stat().st_mtime_ns)
        for path in known[:-_KEPT_WEIGHTS]:
            if str(path) not in in_use:
                shutil.rmtree(path)

    # Read by anybody.

    def saved(self) -> Saved:
        """The last checkpoint; that of step 0 if there is none."""
        try:
            return msgspec.json.decode((self.folder / "checkpoint.json").read_bytes(), type=Saved)
        except FileNotFoundError:
            return Saved()

    def delivered(self) -> Iterator[Group]:
        """Every group that any incarnation received; a kill may have cut the last one of each short."""
        for path in sorted(self.folder.glob("delivered-*")):
            for frame in FrameDecoder().feed(path.read_bytes()):
                assert isinstance(frame, GroupFrame)
                yield frame.group

    def digests(self) -> dict[str, str]:
        """Fingerprint of the weights that were ever published from a path; what a full disk cut short never was."""
        lines = [
            line for path in self.folder.glob("published-*") for line in path.read_text().splitlines(keepends=True)
        ]
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        return {entry["path"]: entry["digest"] for entry in entries}
