"""Published weights: checkpoints written for servers to load.

Owns: their directory, the `current` link, and which of them may go. Never talks to a server. Invariant: a published
directory is complete before its name exists, never changes afterwards, and is not deleted while a server may be loading
it or while `current` points at it.

They are not synced to the disk: after a power cut the learner publishes afresh from its checkpoint, which is.
"""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from learner.model_files import CompanionFiles, write_model
from learner.ranks import ALONE, Ranks
from learner.sealed_directory import UNFINISHED, discard_unfinished, read_manifest, sealing

CURRENT = "current"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """Weights that a server can load."""

    path: Path
    """Absolute directory of a complete checkpoint."""
    manifest_digest: str
    """sha256 that stands for every byte of it."""


class WeightPublisher:
    """The published weights of one run, written by one learner incarnation."""

    def __init__(
        self,
        root: Path,
        companions: CompanionFiles,
        *,
        incarnation: str,
        dtype: torch.dtype,
        keep: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self._root = root.absolute()
        self._companions = companions
        self._incarnation = incarnation
        self._dtype = dtype
        self._keep = keep
        discard_unfinished(self._root)

    def publish(self, model: PreTrainedModel, *, step: int) -> PublishedWeights:
        """Write the model in the publishing dtype and point `current` at it; of a sharded one the others `send_model`.

        The name carries the incarnation: a learner that resumed from an older checkpoint reaches the same step with
        other weights. Raises InvalidCheckpoint where a weight is not finite; nothing is published then.
        """
        path = self._root / f"step-{step:08d}-{self._incarnation}"
        with sealing(path, step=step, durable=False) as unfinished:
            write_model(model, self._companions, unfinished, dtype=self._dtype, ranks=self._ranks)
        self._point_at(path)
        return PublishedWeights(path=path, manifest_digest=read_manifest(path).digest)

    def prune(self, in_use: Collection[str]) -> list[Path]:
        """Delete published weights that are neither among the newest `keep`, nor current, nor in use; returns them."""
        kept = {Path(path).resolve() for path in in_use}
        kept.add((self._root / CURRENT).resolve())
        published = sorted(self._root.glob("step-*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        doomed = [path for path in published[self._keep :] if path.resolve() not in kept]
        for path in doomed:
            leftover = path.with_name(f"{UNFINISHED}{path.name}")
            path.rename(leftover)
            shutil.rmtree(leftover)
        return doomed

    def _point_at(self, path: Path) -> None:
        """Swap the link in one rename, so that it points at complete weights at every moment."""
        fresh = self._root / f"{UNFINISHED}{CURRENT}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(path.name)
        os.replace(fresh, self._root / CURRENT)
