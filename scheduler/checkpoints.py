"""Whether published weights are those of the run's model.

Owns: the comparison of a checkpoint's tensors, or a broadcast's, with the model's, by name and shape. Reads headers
only, never a tensor. Invariant: what is let through can be loaded; a folder that this host cannot see is let through
unread.

A server that loads a tensor of another shape dies, and one that loads a checkpoint with tensors missing says that all
is well and goes on with part of its old weights (measured, SGLang 0.5.23): neither is to be tried out on a fleet.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
from safetensors import SafetensorError, safe_open

from scheduler.core.broadcast import BroadcastOffer
from scheduler.core.errors import InvalidInput

log = structlog.get_logger(__name__)

Shapes = Mapping[str, tuple[int, ...]]

_HEAD = "lm_head.weight"
"""A head that is tied to the embedding may be written or left out."""
_NAMED = 3
"""Tensors that an error names; a checkpoint of another model differs in hundreds."""


class Checkpoints:
    """Checks what a learner publishes against the model that the servers were started with."""

    def __init__(self, model: Path | None, roots: Sequence[Path] | None = None) -> None:
        """`roots`: folders that published weights must lie in; None lets them lie anywhere."""
        self._model = model
        self._roots = None if roots is None else [root.resolve() for root in roots]
        self._expected: Shapes | None = None

    async def check(self, path: str) -> None:
        """Raises InvalidInput for weights that no server is to load; says nothing of what cannot be compared."""
        if self._roots is not None:
            await asyncio.to_thread(_check_place, Path(path), self._roots)
        if self._model is not None:
            await asyncio.to_thread(self._check, self._model, Path(path))

    async def check_offer(self, offer: BroadcastOffer) -> None:
        """Raises InvalidInput for tensors that no server is to receive; a broadcast of them would hang or kill it."""
        shapes = {tensor.name: tensor.shape for bucket in offer.buckets for tensor in bucket}
        num_tensors = sum(len(bucket) for bucket in offer.buckets)
        if len(shapes) != num_tensors:
            raise InvalidInput(f"{num_tensors - len(shapes)} tensors are named twice", field="buckets")
        if self._model is not None and (expected := await asyncio.to_thread(self._of, self._model)):
            _compare(shapes, expected, self._model, what="the broadcast", field="buckets")

    def _of(self, model: Path) -> Shapes:
        if self._expected is None:
            self._expected = shapes_of(model)
        return self._expected

    def _check(self, model: Path, folder: Path) -> None:
        expected = self._of(model)
        if not expected or not folder.is_dir():
            log.info("weights_unchecked", path=str(folder), seen=folder.is_dir(), model=str(model))
            return
        found = shapes_of(folder)
        if not found:
            raise InvalidInput(f"{folder} holds no safetensors file", field="path")
        _compare(found, expected, model, what=str(folder), field="path")


def _compare(found: Shapes, expected: Shapes, model: Path, *, what: str, field: str) -> None:
    optional = {_HEAD} if _HEAD not in expected or _is_tied(model) else frozenset[str]()
    both = {name: (found[name], expected[name]) for name in sorted(found.keys() & expected.keys())}
    others = [f"{name} {list(given)} for {list(wanted)}" for name, (given, wanted) in both.items() if given != wanted]
    _refuse(f"{what} lacks", sorted(expected.keys() - found.keys() - optional), field)
    _refuse(f"{what} has what the model has not:", sorted(found.keys() - expected.keys() - optional), field)
    _refuse(f"{what} has tensors of another shape:", others, field)


def _check_place(folder: Path, roots: Sequence[Path]) -> None:
    """Servers are told to read `folder`: it must be meant for that, wherever its links lead."""
    if not folder.is_absolute():
        raise InvalidInput(f"{folder} is not absolute: servers do not run where the learner does", field="path")
    try:
        place = folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInput(f"{str(folder)!r} is no path: {error}", field="path") from error
    if not any(place.is_relative_to(root) for root in roots):
        listed = ", ".join(map(str, roots))
        raise InvalidInput(f"{place} lies outside of PILOTCOMMIT_WEIGHT_ROOTS, which lists {listed}", field="path")


def shapes_of(folder: Path) -> Shapes:
    """Shapes of all tensors in the folder's safetensors files, by name. Raises InvalidInput for a file that is none."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InvalidInput(f"{path} is no safetensors file: {error}", field="path") from error
    return shapes


def _is_tied(model: Path) -> bool:
    config = json.loads((model / "config.json").read_text())
    return bool(config.get("tie_word_embeddings", False))


def _refuse(what: str, names: list[str], field: str) -> None:
    if names:
        rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise InvalidInput(f"{what} {', '.join(names[:_NAMED])}{rest}", field=field)
