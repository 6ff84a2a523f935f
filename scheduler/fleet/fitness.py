"""Whether a server can serve this fleet: the model that it was launched with, and whether it is a member already.

Owns: the questions and the judgement. Never changes a server. Invariant: only what a server says and what differs makes
it unfit; what it does not say is let through, and weights are checked tensor by tensor before they are pushed. What
makes its log-probs differ and nothing fail is a warning.

Two addresses of one process are worse than a wrong one: two updates at once, each within its own lock, kill SGLang.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from inference.client import ServerClient
from inference.control import ModelInfo, ServerInfo
from inference.interpreter import OLDEST_SGLANG_VERSION
from scheduler.core.errors import InferenceError, InvalidInput
from scheduler.fleet.alikeness import TEXTS, Tokens, dtype_difference
from scheduler.fleet.reference import Reference
from scheduler.tokenizers import model_limits

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedModel:
    """The model that this fleet serves."""

    folder: Path
    model_type: str | None
    architectures: tuple[str, ...]
    vocab_size: int
    context_length: int
    dtype: str = ""
    """What its weights are written in; empty where the model does not say."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a model's config.json; raises InvalidInput for what it lacks."""
        limits = model_limits(folder)
        config = json.loads((folder / "config.json").read_text())
        return cls(
            folder=folder,
            model_type=config.get("model_type"),
            architectures=tuple(config.get("architectures") or ()),
            vocab_size=limits.vocab_size,
            context_length=limits.context_length,
            dtype=str(config.get("dtype") or config.get("torch_dtype") or ""),
        )

    def why_not(self, info: ModelInfo, launched: ServerInfo) -> str:
        """Empty if a server may serve this model, else what differs. Pushed weights change `info.model_path`."""
        folder = launched.model_path or info.model_path
        traits: tuple[tuple[str, object, object], ...] = (
            ("model type", info.model_type, self.model_type),
            ("architecture", ", ".join(info.architectures), ", ".join(self.architectures)),
            ("vocabulary", _vocab_size(folder), self.vocab_size),
        )
        for name, theirs, ours in traits:
            if theirs and ours and theirs != ours:
                return (
                    f"it serves another model: {folder} has {name} {theirs}, {self.folder} has {ours}: launch it with "
                    "--model-path naming the model's own, or set PILOTCOMMIT_MODEL to what it serves"
                )
        return ""

    def warnings(self, launched: ServerInfo) -> tuple[str, ...]:
        """What an operator may want to change about a server that can serve."""
        found = [dtype_difference(launched.dtype, self.dtype, launched.quantization)]
        theirs = launched.context_length
        if theirs is not None and theirs < self.context_length:
            found.append(
                f"its context is {theirs:,} tokens, the model's {self.context_length:,}: keep prompts and "
                "max_new_tokens within it, or launch it without --context-length"
            )
        return tuple(warning for warning in found if warning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """What was found out about a server."""

    unfit: str = ""
    """Why it cannot serve; empty if it can."""
    instance: str = ""
    """Tells its process from every other; empty where it does not say."""
    warnings: tuple[str, ...] = ()
    """What is not as it should be, and keeps it from nothing."""


UNASKED = Fitness()
"""Of a server that has not been asked."""


async def fitness(
    client: ServerClient,
    expected: ExpectedModel | None,
    known: Iterable[tuple[str, str]],
    reference: Reference | None = None,
) -> Fitness:
    """Ask a server what it is; `known` has the address and instance of every other one.

    One that does not tell is let through, and its weights are checked all the same.
    """
    try:
        info, launched = await client.model_info(), await client.server_info()
    except InferenceError as error:
        log.info("model_unchecked", url=client.base_url, reason=str(error))
        return Fitness(unfit=await _gateway(client))
    twin = next((url for url, instance in known if instance and instance == launched.instance), "")
    if twin:
        return Fitness(unfit=f"it is the same process as {twin}", instance=launched.instance)
    if is_older_than_tested(launched.version):
        log.warning(
            "server_older_than_tested", url=client.base_url, theirs=launched.version, oldest=OLDEST_SGLANG_VERSION
        )
    if expected is None:
        return Fitness(instance=launched.instance)
    unfit = expected.why_not(info, launched)
    if not unfit and reference is not None:
        unfit = await reference.difference(await _tokenized(client))
    warnings = expected.warnings(launched)
    for warning in warnings:
        log.warning("server_differs", url=client.base_url, reason=warning)
    return Fitness(unfit=unfit, instance=launched.instance, warnings=warnings)


async def _tokenized(client: ServerClient) -> Tokens | None:
    try:
        return await client.tokenized(TEXTS)
    except InferenceError as error:
        log.info("tokenizer_unchecked", url=client.base_url, reason=str(error))
        return None


async def _gateway(client: ServerClient) -> str:
    """Why not, if it is a gateway; it would answer nothing that a server has to."""
    try:
        is_gateway = await client.is_gateway()
    except InferenceError:
        return ""
    remedy = f"attach what is behind it, with `pilotcommit server add --gateway {client.base_url}`"
    return f"it is a gateway, which passes on no weights and no pauses: {remedy}" if is_gateway else ""


def is_older_than_tested(version: str) -> bool:
    """Whether SGLang of this version is older than the oldest that passes the contract suite; no if it is not known."""
    numbers = [re.match(r"(\d+)\.(\d+)\.(\d+)", text) for text in (version, OLDEST_SGLANG_VERSION)]
    theirs, oldest = (tuple(map(int, found.groups())) if found else () for found in numbers)
    return bool(theirs) and theirs < oldest


def _vocab_size(folder: str) -> int | None:
    """Of a model that this host sees under the same path; None where it does not."""
    try:
        return model_limits(Path(folder)).vocab_size
    except InvalidInput:
        return None
