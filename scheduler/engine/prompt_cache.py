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
class _Contents:
    """What one server holds; a push of weights empties it."""

    version: int
    prefills: "dict[str, asyncio.Future[InferenceError | None]]" = field(default_factory=dict)
    """By prompt: each ends with the error it failed with, or None; cancelled if it is to be made anew."""


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
        prefills = contents.prefills
        while (made := prefills.get(prompt.prompt_id)) is not None:
            if not made.done():
                await asyncio.wait((made,))
            if not made.cancelled():
                if (error := made.result()) is not None:
                    raise error
                return
        await self._make(prefills, prompt.prompt_id, prefill)

    async def _make(
        self,
        prefills: "dict[str, asyncio.Future[InferenceError | None]]",
        prompt_id: str,
        prefill: Callable[[], Awaitable[object]],
    ) -> None:
        made = prefills[prompt_id] = asyncio.get_running_loop().create_future()
        try:
            await prefill()
        except BaseException as error:
            # Who comes later has not waited for this one: it tries again.
            del prefills[prompt_id]
            if isinstance(error, InferenceError):
                made.set_result(error)
            else:
                made.cancel()
            raise
        made.set_result(None)
