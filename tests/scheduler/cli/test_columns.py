"""A row as the line of a prompt, or a reason why it is none."""

import pytest
import typer

from scheduler.cli.cells import Row
from scheduler.cli.columns import Columns, Line
from scheduler.cli.template import Template
from scheduler.core.errors import InvalidInput

GSM8K = {"question": "3 + 4?", "answer": "Three and four. #### 6 #### 7 "}
VERL = {
    "data_source": "gsm8k",
    "prompt": [{"role": "user", "content": "3 + 4?", "name": None}],
    "reward_model": {"style": "rule", "ground_truth": 7},
    "extra_info": {"index": 12, "split": None},
}
CHAT = {
    "messages": [{"role": "system", "content": "Add."}, {"role": "user", "content": "3 + 4?"}],
    "ids": [5, 6],
    "odd": [True],
    "negative": [-1],
    "none": [],
}


@pytest.mark.parametrize(
    ("columns", "row", "line"),
    [
        (
            Columns(template=Template.parse(r"Q: {question}\nA:"), answer="answer", answer_after="####"),
            GSM8K,
            {"text": "Q: 3 + 4?\nA:", "answer": "7"},
        ),
        (Columns(text="question"), GSM8K, {"text": "3 + 4?"}),
        (Columns(user="question"), GSM8K, {"messages": [{"role": "user", "content": "3 + 4?"}]}),
        (Columns(user="question", system="Add."), GSM8K, {"messages": CHAT["messages"]}),
        (
            Columns(
                messages="prompt",
                answer="reward_model.ground_truth",
                id="extra_info.index",
                metadata=("data_source", "extra_info.split", "reward_model"),
            ),
            VERL,
            {
                "id": "12",
                "messages": [{"role": "user", "content": "3 + 4?"}],
                "answer": "7",
                "metadata": {"data_source": "gsm8k", "reward_model": '{"style": "rule", "ground_truth": 7}'},
            },
        ),
        (
            Columns(messages="messages", metadata=("ids",)),
            CHAT,
            {"messages": CHAT["messages"], "metadata": {"ids": "[5, 6]"}},
        ),
        (Columns(input_ids="ids"), CHAT, {"input_ids": [5, 6]}),
        (Columns(text="a", metadata=("b",)), {"a": "1", "b": None}, {"text": "1"}),
    ],
)
def test_columns_become_parts_of_a_line(columns: Columns, row: Row, line: Line) -> None:
    columns.check()
    assert columns.line(row) == line


@pytest.mark.parametrize(
    ("columns", "row", "said"),
    [
        (
            Columns(text="answer", answer="question", answer_after="####"),
            GSM8K,
            "column 'question' has no '####' in it",
        ),
        (Columns(text="question", answer="label"), GSM8K, "no column 'label': there are question, answer"),
        (Columns(text="question", id="label"), GSM8K, "no column 'label'"),
        (Columns(text="question", metadata=("label",)), GSM8K, "no column 'label'"),
        (Columns(template=Template.parse("{label}")), GSM8K, "no column 'label'"),
        (Columns(messages="none"), CHAT, "column 'none' has no messages"),
        (Columns(messages="ids"), CHAT, "column 'ids', message 1 is not an object with role and content"),
        (Columns(input_ids="odd"), CHAT, "column 'odd' is not a list of token ids"),
        (Columns(input_ids="negative"), CHAT, "column 'negative' is not a list of token ids"),
        (Columns(input_ids="messages"), CHAT, "column 'messages' is not a list of token ids"),
        (Columns(messages="question"), GSM8K, "column 'question' is not a list"),
        (
            Columns(messages="m"),
            {"m": [{"role": "user", "content": "1"}, {"from": "gpt", "value": "2"}]},
            "message 2 has no role and content: it has from, value",
        ),
        (
            Columns(messages="m"),
            {"m": [{"role": "user", "content": [{"type": "text", "text": "1"}]}]},
            "message 1: content is not text",
        ),
        (
            Columns(messages="m"),
            {"m": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]},
            "ends with an assistant's message: a prompt ends where the model answers",
        ),
    ],
)
def test_a_row_that_makes_no_line_says_why(columns: Columns, row: Row, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        columns.line(row)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        (Columns(answer="a"), "--text"),
        (Columns(text="a", user="b"), "--text"),
        (Columns(text="a", system="Add."), "--system"),
        (Columns(text="a", answer_after="####"), "--answer-after"),
        (Columns(text="a", answer="b", answer_after=""), "--answer-after"),
    ],
)
def test_options_that_do_not_go_together_are_refused(columns: Columns, hint: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        columns.check()
    assert str(refused.value.param_hint).startswith(hint)


def test_only_the_columns_that_are_named_are_needed_each_once() -> None:
    columns = Columns(
        template=Template.parse("{a} {b.c}"), answer="b.d", answer_after="####", id="e.f", metadata=("a", "g")
    )
    assert columns.needed(["a", "b", "e.f", "g", "h"]) == ("b", "e.f", "a", "g")
    assert Columns(messages="m", system=None).needed(["m"]) == ("m",)


@pytest.mark.parametrize(
    ("columns", "option"),
    [
        (Columns(text="z"), "--text"),
        (Columns(template=Template.parse("{z.y}")), "--template"),
        (Columns(messages="z"), "--messages"),
        (Columns(user="z"), "--user"),
        (Columns(input_ids="z"), "--input-ids"),
        (Columns(text="a", answer="z"), "--answer"),
        (Columns(text="a", id="z"), "--id"),
        (Columns(text="a", metadata=("a", "z")), "--metadata"),
    ],
)
def test_a_column_that_a_source_does_not_have_is_told_with_those_that_it_has(columns: Columns, option: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"no column 'z.*': there are a, b") as refused:
        columns.needed(["a", "b"])
    assert refused.value.param_hint == option


def test_without_any_lines_are_prompts_already() -> None:
    assert not Columns().are_given
    assert Columns(metadata=("a",)).are_given
