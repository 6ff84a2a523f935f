"""Every line of an upload is added, unchanged or refused, and a bad one costs only itself."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from scheduler.prompts import MAX_LINE_BYTES, AddReport, PreviewReport, PromptReader, lines_of
from scheduler.rewards.spec import parse_spec
from scheduler.state.pools import PoolStore
from scheduler.tokenizers import Tokenizer, Tokenizers
from tests.mutated import NESTED_JSON, anything
from tests.tiny_model import BOS_ID

TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}{{ 'A' }}"


@dataclass(frozen=True, slots=True)
class Upload:
    """A pool named `sums`, and reading lines into it."""

    pools: PoolStore
    tokenizer: Tokenizer

    async def read(self, *lines: object, reward: str = "exact", longest: int = 32) -> AddReport:
        """Read lines: bytes as they are, anything else as JSON."""
        reader = PromptReader(self.pools, "sums", self.tokenizer, parse_spec(reward), max_prompt_tokens=longest)
        raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        return await reader.read(_stream(raw))

    async def preview(self, *lines: object) -> PreviewReport:
        """What reading would make of lines."""
        reader = PromptReader(self.pools, "sums", self.tokenizer, parse_spec("exact"), max_prompt_tokens=32)
        raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        return await reader.preview(_stream(raw))

    async def ids(self) -> list[str]:
        """Prompt ids in order of arrival."""
        return [name async for page in self.pools.ids_after("sums", 0) for name, _ in page]


@pytest_asyncio.fixture
async def upload(redis: Redis, model_folder: Path) -> Upload:
    return Upload(PoolStore(redis), await Tokenizers().get(str(model_folder)))


async def _stream(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _lines(parts: Iterable[bytes]) -> list[bytes]:
    return [line async for line in lines_of(_stream(parts))]


@given(text=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=5))
async def test_lines_do_not_depend_on_how_the_stream_was_cut(text: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [text[start:end] for start, end in pairwise(edges)]
    expected = text.split(b"\n")
    assert await _lines(parts) == (expected if expected[-1] else expected[:-1])


async def test_an_endless_line_is_never_kept_whole() -> None:
    [line] = await _lines([b"x" * 1000] * 3000)
    assert MAX_LINE_BYTES < len(line) <= MAX_LINE_BYTES + 1001


async def test_a_prompt_is_stored_as_it_was_sent(upload: Upload) -> None:
    sent = {"id": "sum", "text": "1 + 2 =", "answer": "3", "metadata": {"family": "add"}}
    assert await upload.read(sent) == AddReport(added=1)
    [prompt] = await upload.pools.prompts("sums", ["sum"])
    assert (prompt.text, prompt.answer, prompt.metadata) == ("1 + 2 =", "3", {"family": "add"})
    assert prompt.input_ids == upload.tokenizer.encode("1 + 2 =")


async def test_token_ids_are_taken_as_they_are(upload: Upload) -> None:
    await upload.read({"id": "ids", "input_ids": [5, 127, 0]})
    [prompt] = await upload.pools.prompts("sums", ["ids"])
    assert prompt.input_ids == (5, 127, 0)


async def test_a_chat_goes_through_the_template_once(upload: Upload) -> None:
    upload.tokenizer.backend.chat_template = TEMPLATE
    await upload.read({"id": "chat", "messages": [{"role": "user", "content": "7*8"}]})
    [prompt] = await upload.pools.prompts("sums", ["chat"])
    assert prompt.input_ids == (BOS_ID, *upload.tokenizer.encode("7*8A"))


async def test_messages_that_the_template_refuses_are_refused_with_its_words(upload: Upload) -> None:
    upload.tokenizer.backend.chat_template = "{{ raise_exception('roles must alternate') }}"
    report = await upload.read({"messages": [{"role": "user", "content": "7"}]}, {"text": "7"})
    assert report.added == 1
    assert "roles must alternate" in report.refused[0].reason


async def test_adding_again_changes_nothing(upload: Upload) -> None:
    lines = [{"text": "1 + 1 =", "answer": "2"}, {"id": "named", "text": "2 + 2 ="}]
    assert await upload.read(*lines) == AddReport(added=2)
    assert await upload.read(*lines) == AddReport(unchanged=2)


async def test_a_prompt_without_an_id_is_named_after_its_tokens_and_its_answer(upload: Upload) -> None:
    await upload.read({"text": "11", "answer": "2"}, {"text": "11", "answer": "11"}, {"text": "11", "answer": "2"})
    assert len(set(await upload.ids())) == 2


async def test_refused_lines_are_named_by_number_and_id_and_the_others_are_stored(upload: Upload) -> None:
    report = await upload.read(
        {"id": "a", "text": "1"}, b"", b"  \r", {"id": "b", "input_ids": [128]}, b"{", {"id": "c", "text": "2"}
    )
    assert (report.added, [(refused.line, refused.id) for refused in report.refused]) == (2, [(4, "b"), (5, None)])
    assert await upload.ids() == ["a", "c"]


async def test_an_answer_that_the_reward_cannot_judge_is_refused(upload: Upload) -> None:
    report = await upload.read({"text": "1", "answer": "one"}, {"text": "1", "answer": "1"}, reward="numeric")
    assert report.added == 1
    assert "needs a number" in report.refused[0].reason


@pytest.mark.parametrize("size", [32, 33])
async def test_the_longest_prompt_fits_and_one_token_more_does_not(upload: Upload, size: int) -> None:
    report = await upload.read({"text": "1" * size}, longest=32)
    assert report.added == (size == 32)


async def test_an_upload_of_many_chunks_keeps_numbers_and_order(upload: Upload) -> None:
    lines: list[object] = [{"id": f"p{number}", "text": "1"} for number in range(1, 1001)]
    lines[299], lines[799] = b"{", {"id": "p800", "text": ""}
    report = await upload.read(*lines)
    assert (report.added, [refused.line for refused in report.refused]) == (998, [300, 800])
    assert await upload.ids() == [f"p{number}" for number in range(1, 1001) if number not in (300, 800)]


async def test_lines_that_fill_a_chunk_by_their_size_are_all_stored(upload: Upload) -> None:
    lines = [{"id": f"p{number}", "text": "1", "answer": "9" * 900_000} for number in range(12)]
    assert await upload.read(*lines) == AddReport(added=12)


async def test_a_preview_shows_a_chat_with_the_template_applied(upload: Upload) -> None:
    upload.tokenizer.backend.chat_template = TEMPLATE
    report = await upload.preview({"messages": [{"role": "user", "content": "7*8"}]}, b"", {"text": "7$"})
    assert [(shown.line, shown.seen) for shown in report.prompts] == [(1, "<bos>7*8A"), (3, "7<unk>")]
    assert await upload.ids() == []


GOOD_LINES = [
    b'{"id": "a", "text": "1+1=", "answer": "2", "metadata": {"k": "v"}}',
    b'{"messages": [{"role": "user", "content": "1+1="}], "answer": "2"}',
    b'{"input_ids": [4, 5, 6], "answer": "2"}',
]


# Each example reads its own lines: what earlier ones left in the pool makes no difference to any of them.
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(anything(GOOD_LINES).map(lambda line: line.replace(b"\n", b" ")), min_size=1, max_size=5))
async def test_any_line_is_taken_or_refused_and_none_harms_another(upload: Upload, lines: list[bytes]) -> None:
    report = await upload.read(*lines, GOOD_LINES[2])
    assert report.added + report.unchanged + len(report.refused) == sum(1 for line in lines if line.strip()) + 1
    assert all(refusal.line <= len(lines) for refusal in report.refused)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(anything(GOOD_LINES).map(lambda line: line.replace(b"\n", b" ")), min_size=1, max_size=5))
async def test_a_preview_refuses_what_an_upload_refuses(upload: Upload, lines: list[bytes]) -> None:
    foreseen, report = await upload.preview(*lines), await upload.read(*lines)
    conflicts = {refusal.line for refusal in report.refused if "has another prompt under this id" in refusal.reason}
    assert [refusal.line for refusal in report.refused if refusal.line not in conflicts] == [
        refusal.line for refusal in foreseen.refused
    ]


@pytest.mark.parametrize(
    "line",
    [
        NESTED_JSON,
        b'{"text": "1", "metadata": ' + NESTED_JSON,
        b'{"text": "\xff\xfe"}',
        b'{"text": "\\ud800"}',
        b'{"id": "\\ud800", "text": "1"}',
        b'{"input_ids": [1' + b"0" * 5000 + b"]}",
        b'{"input_ids": [1e400]}',
        b'{"text": "1", "id": "' + b"x" * 100_000 + b'"}',
    ],
    ids=["nested", "nested metadata", "no text", "half a character", "half an id", "huge id", "infinite", "long id"],
)
async def test_a_line_made_to_break_the_reader_is_refused(upload: Upload, line: bytes) -> None:
    report = await upload.read(line, GOOD_LINES[2])
    assert ([refusal.line for refusal in report.refused], report.added) == ([1], 1)
