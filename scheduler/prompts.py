"""Prompts as people send them: NDJSON, a line each.

Owns: reading, checking and tokenising lines. Never loses an accepted prompt to a refused one. Invariant: every line is
added, unchanged or refused with its number and a reason.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from scheduler.core.errors import InvalidInput, ServerRefused
from scheduler.core.types import Prompt
from scheduler.core.unreadable import UNREADABLE
from scheduler.rewards.spec import RewardSpec
from scheduler.state.pools import Added, PoolStore
from scheduler.tokenizers import Tokenizer

MAX_LINE_BYTES = 1 << 20
MAX_PREVIEW_LINES = 100
"""A preview is held whole and read by a person."""
_CHUNK_LINES, _CHUNK_BYTES = 256, 4 << 20
"""How much is parsed, tokenised and stored at a time: it bounds memory, whatever is uploaded."""
_MAX_REFUSALS, _LONGEST_REASON, _LONGEST_ID = 10_000, 500, 200
"""How much is said of what was refused: a file of the wrong kind is refused line by line."""


class PromptLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line: exactly one of text, messages and input_ids."""

    id: str | None = None
    text: str | None = None
    messages: list[dict[str, str]] | None = None
    input_ids: list[int] | None = None
    answer: str = ""
    metadata: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLine:
    """Why a line was refused."""

    line: int
    """Its number, from 1."""
    id: str | None
    reason: str


@dataclass(slots=True, kw_only=True)
class AddReport:
    """What became of every line."""

    added: int = 0
    unchanged: int = 0
    refused: list[RefusedLine] = field(default_factory=list)
    """In order of their lines, the first ten thousand."""
    more_refused: int = 0
    """Refused lines beyond those."""

    def refuse(self, lines: Iterable[RefusedLine]) -> None:
        """Note refused lines that come after those noted before."""
        for line in sorted(lines, key=lambda refusal: refusal.line):
            if len(self.refused) < _MAX_REFUSALS:
                self.refused.append(line)
            else:
                self.more_refused += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedPrompt:
    """A prompt as it would be stored, and as the model would see it."""

    line: int
    """Its number, from 1."""
    prompt: Prompt
    seen: str
    """Its token ids as text again, special tokens included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewReport:
    """What would become of every line."""

    prompts: list[PreviewedPrompt]
    refused: list[RefusedLine]


async def lines_of(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut a byte stream into lines without keeping more than one; an overlong line comes out cut, to be refused."""
    rest = b""
    async for data in body:
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line
        rest = rest[: MAX_LINE_BYTES + 1]
    if rest:
        yield rest


class PromptReader:
    """Reads lines into one pool."""

    def __init__(
        self, pools: PoolStore, pool: str, tokenizer: Tokenizer, reward: RewardSpec, *, max_prompt_tokens: int
    ) -> None:
        self._pools = pools
        self._pool = pool
        self._tokenizer = tokenizer
        self._reward = reward
        self._max_prompt_tokens = max_prompt_tokens

    async def read(self, lines: AsyncIterator[bytes]) -> AddReport:
        """Add every good line, chunk by chunk, and say what became of each."""
        report, chunk, number, size = AddReport(), list[tuple[int, bytes]](), 0, 0
        async for line in lines:
            number, size = number + 1, size + len(line)
            if line.strip():
                chunk.append((number, line))
            if len(chunk) == _CHUNK_LINES or size > _CHUNK_BYTES:
                await self._add(chunk, report)
                chunk, size = [], 0
        await self._add(chunk, report)
        return report

    async def preview(self, lines: AsyncIterator[bytes]) -> PreviewReport:
        """What `read` would make of the lines, adding nothing; raises InvalidInput for more than a hundred.

        Whether the pool has another prompt under an id is not looked at.
        """
        chunk, number = list[tuple[int, bytes]](), 0
        async for line in lines:
            number += 1
            if number > MAX_PREVIEW_LINES:
                raise InvalidInput(f"a preview takes {MAX_PREVIEW_LINES} lines at most", field=f"line {number}")
            if line.strip():
                chunk.append((number, line))
        return await asyncio.to_thread(self._preview_all, chunk)

    def _preview_all(self, chunk: Iterable[tuple[int, bytes]]) -> PreviewReport:
        good, refused = self._parse_all(chunk)
        prompts = [
            PreviewedPrompt(line=number, prompt=prompt, seen=self._tokenizer.decode(prompt.input_ids))
            for number, prompt in good
        ]
        return PreviewReport(prompts=prompts, refused=refused)

    async def _add(self, chunk: Sequence[tuple[int, bytes]], report: AddReport) -> None:
        if not chunk:
            return
        # Off the event loop: tokenising a chunk of long prompts takes longer than a heartbeat should wait.
        good, refused = await asyncio.to_thread(self._parse_all, chunk)
        answers = await self._pools.add(self._pool, [prompt for _, prompt in good]) if good else []
        for (number, prompt), answer in zip(good, answers, strict=True):
            match answer:
                case Added.ADDED:
                    report.added += 1
                case Added.UNCHANGED:
                    report.unchanged += 1
                case Added.CONFLICT:
                    reason = "the pool has another prompt under this id, which it keeps: choose another id"
                    refused.append(RefusedLine(line=number, id=prompt.prompt_id, reason=reason))
        report.refuse(refused)

    def _parse_all(self, chunk: Iterable[tuple[int, bytes]]) -> tuple[list[tuple[int, Prompt]], list[RefusedLine]]:
        good: list[tuple[int, Prompt]] = []
        refused: list[RefusedLine] = []
        for number, raw in chunk:
            line: PromptLine | None = None
            try:
                line = _decode(raw)
                good.append((number, self._prompt(line)))
            except (InvalidInput, ServerRefused) as error:
                prompt_id = line.id[:_LONGEST_ID] if line is not None and line.id is not None else None
                refused.append(RefusedLine(line=number, id=prompt_id, reason=str(error)[:_LONGEST_REASON]))
        return good, refused

    def _prompt(self, line: PromptLine) -> Prompt:
        input_ids = self._input_ids(line)
        self._tokenizer.limits.check(input_ids, 0)
        if len(input_ids) > self._max_prompt_tokens:
            raise InvalidInput(f"{len(input_ids)} tokens: the pool takes prompts of up to {self._max_prompt_tokens}")
        self._reward.check_prompt(line.answer, line.metadata)
        text = line.text if line.text is not None else ""
        prompt_id = line.id if line.id is not None else _digest(input_ids, line.answer)
        if len(prompt_id) > _LONGEST_ID or "/" in prompt_id or prompt_id in ("", ".", ".."):
            # It is a part of a path: /v1/runs/{run}/prompts/{prompt}.
            raise InvalidInput("an id has 1 to 200 characters and no slash, and is not . or ..", field="id")
        return Prompt(prompt_id=prompt_id, input_ids=input_ids, text=text, answer=line.answer, metadata=line.metadata)

    def _input_ids(self, line: PromptLine) -> tuple[int, ...]:
        given = [name for name in ("text", "messages", "input_ids") if getattr(line, name) is not None]
        if len(given) != 1:
            raise InvalidInput(f"a prompt has exactly one of text, messages, input_ids; this has {given or 'none'}")
        if line.text is not None:
            return self._tokenizer.encode(line.text)
        if line.messages is not None:
            return self._tokenizer.encode_messages(line.messages)
        return tuple(line.input_ids or ())


def _decode(raw: bytes) -> PromptLine:
    if len(raw) > MAX_LINE_BYTES:
        raise InvalidInput(f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        return msgspec.json.decode(raw, type=PromptLine)
    except UNREADABLE as error:
        raise InvalidInput(f"not a prompt: {error}") from error


def _digest(input_ids: Sequence[int], answer: str) -> str:
    content = msgspec.msgpack.encode((input_ids, answer))
    return hashlib.blake2b(content, digest_size=8).hexdigest()
