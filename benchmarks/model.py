"""The model that benchmarks train and sample from.

Owns: where it lies. Never makes it.
"""

from pathlib import Path

from inference.interpreter import cache_dir
from scheduler.core.errors import InvalidInput

_NAME = "smollm2-135m-instruct"


def model_folder(named: Path | None = None) -> Path:
    """The folder that was named, else SmolLM2-135M-Instruct's; raises InvalidInput if there is no model in it."""
    model = named or cache_dir() / "models" / _NAME
    if not (model / "config.json").is_file():
        raise InvalidInput(f"{model} is no model folder: run `make model` first, or name another with --model")
    return model
