"""Checkpoints: everything a learner needs to go on as if it had never stopped.

Owns: their directory, what is in one (model in Hugging Face format, optimiser, random state, progress), which one is
the latest good one, and which may go. Never trains. Invariants: `latest` returns only a checkpoint whose every byte is
what was written; an unfinished or damaged one is passed over for its predecessor. A checkpoint is the same whatever the
number of ranks that wrote it: each writes its own elements to their place in the same files, and any number may resume.

    <root>/step-00000010/model/            config, model.safetensors in float32, tokenizer
                        /state.safetensors optimiser moments and random state
                        /progress.json     step, updates, group ids
                        /manifest.json     written last
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from learner.model_files import WEIGHTS, CompanionFiles, unique_tensors
from learner.ranks import ALONE, Ranks
from learner.sealed_directory import UNFINISHED, discard_unfinished, sealing, verify
from learner.sharding import is_sharded, own, span
from learner.tensor_file import StoredTensors, TensorFile, entry_of, lay_out
from learner.trainer import Trainer
from scheduler.core.errors import InvalidCheckpoint

PROGRESS = "progress.json"
STATE = "state.safetensors"
MODEL = "model"
_OPTIMISER = "optimiser."
_RANDOM_CPU = "random.cpu"
_RANDOM_CUDA = "random.cuda"

_log = structlog.get_logger()


class Progress(BaseModel):
    """How far a run has come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    step: int
    """Training steps taken."""
    num_updates: int
    """Optimiser updates made: what the warm-up counts."""
    trained: dict[int, tuple[str, ...]]
    """Group ids by step, of the steps whose checkpoint the scheduler has not acknowledged yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    path: Path
    progress: Progress

    @property
    def model_path(self) -> Path:
        """The policy, as a checkpoint that transformers loads."""
        return self.path / MODEL

    def restore(self, trainer: Trainer) -> None:
        """Give `trainer`, built on this checkpoint's model, its optimiser state; also sets torch's random state."""
        tensors = StoredTensors(self.path / STATE)
        torch.set_rng_state(tensors[_RANDOM_CPU])
        if _RANDOM_CUDA in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors[_RANDOM_CUDA])
        trainer.restore(StoredTensors(self.path / STATE, _OPTIMISER), num_updates=self.progress.num_updates)


def latest(root: Path) -> Checkpoint | None:
    """The newest complete checkpoint, or None; also clears away what a killed process left unfinished."""
    discard_unfinished(root)
    for path in _newest_first(root):
        try:
            verify(path)
            return opened(path)
        except InvalidCheckpoint as exc:
            _log.warning("checkpoint_refused", path=str(path), reason=str(exc))
    return None


class CheckpointWriter:
    """Writes the checkpoints of one run into a directory that nobody else writes to but the other ranks."""

    def __init__(self, root: Path, companions: CompanionFiles, *, keep: int, ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        self._root = root
        self._companions = companions
        self._keep = keep

    def save(self, trainer: Trainer, progress: Progress) -> Checkpoint:
        """Write a checkpoint, durably, then delete those beyond the newest `keep`.

        Where there are several ranks, the others `write_own` meanwhile. Raises InvalidCheckpoint where a value of this
        rank is not finite.
        """
        path = self._root / f"step-{progress.step:08d}"
        if path.exists():
            # The same step again: what is there was found damaged, and the run went back before it.
            _discard(path)
        with sealing(path, step=progress.step, durable=True) as unfinished:
            _lay_out(trainer, unfinished)
            self._companions.write(unfinished / MODEL, torch.float32)
            (unfinished / PROGRESS).write_text(progress.model_dump_json(indent=1) + "\n")
            write_own(trainer, self._ranks, unfinished)
        for old in _newest_first(self._root)[self._keep :]:
            _discard(old)
        return Checkpoint(path=path, progress=progress)


def _newest_first(root: Path) -> list[Path]:
    return sorted(root.glob("step-*"), reverse=True)


def _discard(path: Path) -> None:
    """Delete a directory; renamed first, so that a kill half way leaves nothing that looks like a checkpoint."""
    doomed = path.with_name(f"{UNFINISHED}{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed)


def opened(path: Path) -> Checkpoint:
    """A checkpoint that was verified; raises InvalidCheckpoint where its progress makes no sense."""
    try:
        progress = Progress.model_validate_json((path / PROGRESS).read_bytes())
    except (OSError, ValidationError) as exc:
        raise InvalidCheckpoint(f"{path}: no readable {PROGRESS}: {exc}") from exc
    return Checkpoint(path=path, progress=progress)


def write_own(trainer: Trainer, ranks: Ranks, unfinished: Path | None = None) -> None:
    """Write what this rank holds into the files that rank 0 has laid out in `unfinished`; returns when all have."""
    path = Path(ranks.told(str(unfinished).encode()).decode())
    for file_path, tensors in _contents(trainer, path).items():
        with TensorFile.writing(file_path, durable=True) as file:
            for name, tensor in tensors.items():
                if is_sharded(tensor):
                    file.write(name, span(tensor, ranks.index, ranks).start, own(tensor).detach().reshape(-1).cpu())
                elif ranks.leads:
                    file.write(name, 0, tensor.detach().reshape(-1).cpu())
    ranks.meet()


def _lay_out(trainer: Trainer, path: Path) -> None:
    (path / MODEL).mkdir()
    for file_path, tensors in _contents(trainer, path).items():
        lay_out(file_path, {name: entry_of(tensor) for name, tensor in tensors.items()})


def _contents(trainer: Trainer, path: Path) -> dict[Path, dict[str, Tensor]]:
    """What is in the tensor files of a checkpoint, sharded tensors as they are."""
    model = {name: tensor.to(torch.float32) for name, tensor in unique_tensors(trainer.model).items()}
    return {path / MODEL / WEIGHTS: model, path / STATE: _state(trainer)}


def _state(trainer: Trainer) -> dict[str, Tensor]:
    tensors = {f"{_OPTIMISER}{name}": tensor for name, tensor in trainer.optimiser_tensors().items()}
    tensors[_RANDOM_CPU] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors[_RANDOM_CUDA] = torch.cuda.get_rng_state()
    return tensors
