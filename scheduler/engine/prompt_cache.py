"""Which prompts the servers hold in their KV caches, as far as this run had them computed there.

Owns: having a prompt prefilled once before many attempts for it arrive together, each of which would compute it anew.
Never generates, and knows nothing of what a server evicts. Invariant: one prefill of a prompt at a time per server and
weight version; whoever waits for one that fails fails with it, so that no queue of waiters tries it in turn.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from scheduler.core.errors import InferenceError
from scheduler.core.types import Prompt
from scheduler.fleet import Dispatch, Server

_WORTH_A_CALL_TOKENS = 256
"""Prompt tokens that are computed once instead of per attempt; for fewer, one more round trip does not pay."""


@dataclass(slots=True)
class _Entry:
    """One prompt on one server."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    held: bool = False
    error: InferenceError | None = None


@dataclass(slots=True)
class _Contents:
    """What one server holds; a push of weights empties it."""

    version: int
    entries: dict[str, _Entry] = field(default_factory=dict)


class PromptCache:
    """Prefills of one run."""

    def __init__(self) -> None:
        self._contents: weakref.WeakKeyDictionary[Server, _Contents] = weakref.WeakKeyDictionary()

    async def hold(
        self, prompt: Prompt, dispatch: Dispatch, at_once: int, prefill: Callable[[], Awaitable[object]]
    ) -> None:
        """Return once `prompt` is in the server's cache, or is not worth a call for `at_once` attempts.

        Consumes: a prompt. Produces: a warm cache. Waits for: the prefill, one's own or another attempt's. Unblocked
        by: its answer or its timeout. Raises the InferenceError of the prefill.
        """
        if (at_once - 1) * len(prompt.input_ids) < _WORTH_A_CALL_TOKENS:
            return
        contents = self._contents.get(dispatch.server)
        if contents is None or contents.version != dispatch.version:
            contents = self._contents[dispatch.server] = _Contents(dispatch.version)
        entry = contents.entries.setdefault(prompt.prompt_id, _Entry())
        async with entry.lock:
            if entry.error is not None:
                raise entry.error
            if entry.held:
                return
            try:
                await prefill()
            except InferenceError as error:
                entry.error = error
                # Who comes later has not waited for this one: it tries again.
                del contents.entries[prompt.prompt_id]
                raise
            entry.held = True
