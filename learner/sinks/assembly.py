"""The sinks that the settings ask for.

Owns: which library each needs, and what is said where it is not installed or will not start. Never stops a learner
whose sink does not start; only a missing library does, as that was asked for and can be had.
"""

from collections.abc import Callable
from pathlib import Path

import structlog

from learner.settings import Settings
from learner.sinks.sink import Sink, Sinks
from scheduler.core.errors import InvalidInput

_log = structlog.get_logger(__name__)


def sinks_of(settings: Settings) -> Sinks:
    """Raises InvalidInput where a library is missing; a sink that does not start is told of and left out."""
    wanted: dict[str, Callable[[], Sink]] = {}
    if settings.tensorboard_dir is not None:
        folder = settings.tensorboard_dir / settings.run_id
        wanted["TensorBoard"] = lambda: _tensorboard(folder)
    if settings.wandb_project is not None:
        project, run_id, files = settings.wandb_project, settings.run_id, settings.work_dir
        wanted["Weights & Biases"] = lambda: _wandb(project, run_id, files)
    return Sinks([sink for name, make in wanted.items() if (sink := _started(name, make)) is not None])


def _started(name: str, make: Callable[[], Sink]) -> Sink | None:
    try:
        return make()
    except InvalidInput:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop training
        _log.warning("sink_failed", sink=name, reason=f"{type(error).__name__}: {error}")
        return None


def _tensorboard(folder: Path) -> Sink:
    try:
        from learner.sinks.tensorboard import TensorBoardSink
    except ImportError as exc:
        raise _missing("tensorboard", "tensorboard_dir", exc) from exc
    return TensorBoardSink(folder)


def _wandb(project: str, run_id: str, folder: Path) -> Sink:
    try:
        from learner.sinks.wandb import WandbSink
    except ImportError as exc:
        raise _missing("wandb", "wandb_project", exc) from exc
    return WandbSink(project, run_id, folder)


def _missing(package: str, field: str, error: ImportError) -> InvalidInput:
    return InvalidInput(f"{field} needs {package}: pip install 'pilotcommit[{package}]' ({error})", field=field)
