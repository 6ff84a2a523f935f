"""A learner put together from its settings.

Owns: what is built from what, and whether a run starts at step 0 or where its latest checkpoint left it. Never trains.
Invariant: a work directory serves one run; a checkpoint of another run is refused, not trained on.
"""

from dataclasses import dataclass

import structlog
import torch
from transformers.utils import logging as transformers_logging

from learner.broadcast import Broadcaster, BroadcastLink
from learner.checkpoint import Checkpoint, CheckpointWriter, Progress, latest
from learner.fault import Fault
from learner.loss import Objective
from learner.metrics import LearnerMetrics
from learner.model_files import CompanionFiles, load_model
from learner.session import Workshop
from learner.settings import FloatFormat, Settings, Transport
from learner.trainer import Computation, Optimisation, Trainer
from learner.weight_publish import WeightPublisher
from learner.work_dir import WorkDir
from scheduler.core.broadcast import BroadcastBackend
from scheduler.core.errors import LearnerError
from scheduler.processor import has_native_bf16

_DTYPES = {FloatFormat.FLOAT32: torch.float32, FloatFormat.BF16: torch.bfloat16}


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


def assemble(settings: Settings, work_dir: WorkDir, *, incarnation: str, fault: Fault) -> Start:
    """Load the policy of the latest checkpoint, else of `model_path`, and build everything that trains it.

    Raises InvalidCheckpoint where neither can be loaded, LearnerError for a checkpoint of another run.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated in transformers
    checkpoint = latest(work_dir.checkpoints)
    if checkpoint is not None and checkpoint.progress.run_id != settings.run_id:
        raise LearnerError(
            f"{work_dir.root} belongs to run {checkpoint.progress.run_id}, not {settings.run_id}: give each run its own"
        )
    torch.manual_seed(settings.seed)
    source = settings.model_path if checkpoint is None else checkpoint.model_path
    model = load_model(source, _device(settings.device))
    companions = CompanionFiles.read(source)
    trainer = Trainer(
        model,
        objective=_objective(settings),
        optimisation=_optimisation(settings),
        computation=_computation(settings, model.device),
    )
    workshop = Workshop(
        trainer=trainer,
        publisher=WeightPublisher(
            work_dir.weights,
            companions,
            incarnation=incarnation,
            dtype=dtype_of(settings.publish_format, model.device),
            keep=settings.keep_weights,
        ),
        checkpoints=CheckpointWriter(work_dir.checkpoints, companions, keep=settings.keep_checkpoints),
        metrics=LearnerMetrics(settings.run_id),
        fault=fault,
        checkpoint_every=settings.checkpoint_every,
    )
    return Start(workshop=workshop, progress=_progress(settings.run_id, checkpoint, trainer))


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


def _progress(run_id: str, checkpoint: Checkpoint | None, trainer: Trainer) -> Progress:
    if checkpoint is None:
        _log.info("starting", run=run_id)
        return Progress(run_id=run_id, step=0, num_updates=0, trained={})
    checkpoint.restore(trainer)
    _log.info("resuming", run=run_id, step=checkpoint.progress.step, checkpoint=str(checkpoint.path))
    return checkpoint.progress


def _device(name: str) -> torch.device:
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


def _computation(settings: Settings, device: torch.device) -> Computation:
    return Computation(
        mini_batches=settings.mini_batches,
        micro_batch_tokens=settings.micro_batch_tokens,
        autocast=dtype_of(settings.autocast, device),
        half_batch_cosine=settings.half_batch_cosine,
    )
