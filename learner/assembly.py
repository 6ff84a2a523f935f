"""A learner put together from its settings.

Owns: what is built from what, and whether a run starts at step 0 or where its latest checkpoint left it. Never trains.
Invariant: a work directory serves one run; a checkpoint of another run is refused, not trained on.
"""

from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from learner.broadcast import Broadcaster, BroadcastLink
from learner.checkpoint import Checkpoint, CheckpointWriter, Progress, latest, opened
from learner.fault import Fault
from learner.loss import Objective
from learner.memory import give_back_freed_memory
from learner.metrics import LearnerMetrics
from learner.model_files import CompanionFiles, load_model, read_model
from learner.orders import Lead
from learner.ranks import ALONE, Ranks
from learner.settings import FloatFormat, Settings, Transport
from learner.sharding import shard
from learner.sinks.assembly import sinks_of
from learner.trainer import Computation, Optimisation, Trainer
from learner.weight_publish import WeightPublisher
from learner.work_dir import WorkDir
from learner.workshop import Bench, Workshop
from scheduler.core.broadcast import BroadcastBackend
from scheduler.core.errors import LearnerError
from scheduler.processor import has_native_bf16

_DTYPES = {FloatFormat.FLOAT32: torch.float32, FloatFormat.BF16: torch.bfloat16}
_MOST_TOKENS = 16_384
"""Of a micro-batch on a GPU, which wants them large. On a CPU those only miss the caches: SmolLM2-135M takes 15 s a
step with the 1,024 of `Computation` and 22 s with all at once."""


def dtype_of(chosen: FloatFormat, device: torch.device) -> torch.dtype:
    """The floating type that a setting means on this machine."""
    if chosen is FloatFormat.AUTO:
        chosen = FloatFormat.BF16 if device.type == "cuda" or has_native_bf16() else FloatFormat.FLOAT32
    return _DTYPES[chosen]


_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a session begins."""

    workshop: Workshop
    progress: Progress


def assemble(settings: Settings, work_dir: WorkDir, *, incarnation: str, fault: Fault, ranks: Ranks = ALONE) -> Start:
    """Load the policy of the latest checkpoint, else of `model_path`, and build everything that trains it.

    Where there are several ranks this is rank 0, and the others `assemble_bench` meanwhile. Raises InvalidCheckpoint
    where neither can be loaded, LearnerError for a checkpoint of another run, InvalidInput where a sink's
    library is missing.
    """
    checkpoint = latest(work_dir.checkpoints)
    if checkpoint is not None and checkpoint.progress.run_id != settings.run_id:
        raise LearnerError(
            f"{work_dir.root} belongs to run {checkpoint.progress.run_id}, not {settings.run_id}: give each run its own"
        )
    sinks = sinks_of(settings)
    ranks.told(b"" if checkpoint is None else str(checkpoint.path).encode())
    companions = CompanionFiles.read(settings.model_path if checkpoint is None else checkpoint.model_path)
    trainer = _trainer(settings, checkpoint, ranks)
    workshop = Workshop(
        trainer=trainer,
        publisher=WeightPublisher(
            work_dir.weights,
            companions,
            incarnation=incarnation,
            dtype=dtype_of(settings.publish_format, trainer.model.device),
            keep=settings.keep_weights,
            ranks=ranks,
        ),
        checkpoints=CheckpointWriter(work_dir.checkpoints, companions, keep=settings.keep_checkpoints, ranks=ranks),
        metrics=LearnerMetrics(settings.run_id),
        fault=fault,
        lead=Lead(ranks),
        sinks=sinks,
        checkpoint_every=settings.checkpoint_every,
        beat_s=settings.rank_timeout_s / 3 if ranks.size > 1 else None,
    )
    return Start(workshop=workshop, progress=_progress(settings.run_id, checkpoint))


def assemble_bench(settings: Settings, ranks: Ranks) -> Bench:
    """What a rank other than 0 works with; it begins where rank 0 says."""
    path = ranks.told().decode()
    trainer = _trainer(settings, opened(Path(path)) if path else None, ranks)
    _log.info("following", run=settings.run_id, rank=ranks.index)
    return Bench(trainer=trainer, ranks=ranks, publish_dtype=dtype_of(settings.publish_format, trainer.model.device))


def _trainer(settings: Settings, checkpoint: Checkpoint | None, ranks: Ranks) -> Trainer:
    """The policy and its optimiser as the checkpoint left them, or as they are at step 0."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated in transformers
    torch.manual_seed(settings.seed)
    device = device_of(settings.device)
    source = settings.model_path if checkpoint is None else checkpoint.model_path
    trainer = Trainer(
        load_model(source, device) if ranks.mesh is None else _shards(source, device, ranks.mesh, settings, ranks),
        objective=_objective(settings),
        optimisation=_optimisation(settings),
        computation=_computation(settings, device),
        ranks=ranks,
    )
    if checkpoint is not None:
        checkpoint.restore(trainer)
    return trainer


def _shards(source: Path, device: torch.device, mesh: DeviceMesh, settings: Settings, ranks: Ranks) -> PreTrainedModel:
    """This rank's part of the policy; each holds the whole of it in main memory for a moment, one after the other."""
    with ranks.in_turn():
        model = read_model(source, device)
        shard(model, mesh, autocast=dtype_of(settings.autocast, device))
        give_back_freed_memory()
    return model


def broadcaster_of(settings: Settings, start: Start, link: BroadcastLink, *, incarnation: str) -> Broadcaster | None:
    """What broadcasts the weights, where that is how they travel."""
    if settings.transport is Transport.DISK:
        return None
    on_gpu = start.workshop.trainer.model.device.type == "cuda"
    return Broadcaster(
        link,
        incarnation=incarnation,
        backend=BroadcastBackend.NCCL if on_gpu else BroadcastBackend.GLOO,
        address=settings.broadcast_address,
        port=settings.broadcast_port,
    )


def _progress(run_id: str, checkpoint: Checkpoint | None) -> Progress:
    if checkpoint is None:
        _log.info("starting", run=run_id)
        return Progress(run_id=run_id, step=0, num_updates=0, trained={})
    _log.info("resuming", run=run_id, step=checkpoint.progress.step, checkpoint=str(checkpoint.path))
    return checkpoint.progress


def device_of(name: str) -> torch.device:
    """The device that a setting means on this machine; of several GPUs the one that this rank has taken."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _objective(settings: Settings) -> Objective:
    return Objective(
        advantage=settings.advantage,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        dual_clip=settings.dual_clip,
        importance_cap=settings.importance_cap,
        selection_weight_cap=settings.selection_weight_cap,
    )


def _optimisation(settings: Settings) -> Optimisation:
    return Optimisation(
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_updates=settings.warmup_updates,
        grad_clip=settings.grad_clip,
    )


def micro_batch_tokens(chosen: int | None, device: torch.device) -> int:
    """Padded tokens of one forward and backward: what was chosen, or else what suits the device."""
    return chosen or (Computation().micro_batch_tokens if device.type == "cpu" else _MOST_TOKENS)


def _computation(settings: Settings, device: torch.device) -> Computation:
    return Computation(
        mini_batches=settings.mini_batches,
        micro_batch_tokens=micro_batch_tokens(settings.micro_batch_tokens, device),
        autocast=dtype_of(settings.autocast, device),
        half_batch_cosine=settings.half_batch_cosine,
    )
