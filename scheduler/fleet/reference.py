"""What the model's own tokenizer makes of the texts that servers are asked.

Owns: computing it once. Never judges. Invariant: a difference is only told by the tokenizer that prompts are encoded
with.
"""

import asyncio
from pathlib import Path

import structlog

from scheduler.core.errors import InvalidInput
from scheduler.fleet.alikeness import TEXTS, Tokens, tokenizer_difference
from scheduler.tokenizers import Tokenizers, quickly_encoded

log = structlog.get_logger(__name__)


class Reference:
    """The tokenizer of one model folder."""

    def __init__(self, folder: Path, tokenizers: Tokenizers) -> None:
        self._folder = folder
        self._tokenizers = tokenizers
        self._quick: Tokens | None = None
        self._looked = False
        self._looking = asyncio.Lock()

    async def difference(self, theirs: Tokens | None) -> str:
        """Empty if a server's tokenizer is the model's, or either cannot be asked, else what differs."""
        if theirs is None or len(theirs) != len(TEXTS):
            return ""
        async with self._looking:
            if not self._looked:
                # transformers takes seconds to import, and nearly every server turns out to be right without it.
                self._quick = await asyncio.to_thread(quickly_encoded, self._folder, TEXTS)
                self._looked = True
        if theirs == self._quick:
            return ""
        try:
            tokenizer = await self._tokenizers.get(str(self._folder))
        except InvalidInput as error:
            log.info("tokenizer_unchecked", folder=str(self._folder), reason=str(error))
            return ""
        ours = await asyncio.to_thread(lambda: tuple(tokenizer.encode_bare(text) for text in TEXTS))
        return tokenizer_difference(theirs, ours, self._folder)
