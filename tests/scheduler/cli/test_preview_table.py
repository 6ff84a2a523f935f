"""What the model will see, on a terminal."""

import pytest

from scheduler.cli.answers import Preview, Previewed, Refusal
from scheduler.cli.preview_table import previewed, visible
from tests.scheduler.cli.shown import text_of


def make_preview(*, text: str = "1+1=", answer: str = "2", num_tokens: int = 4) -> Preview:
    return Preview(line=1, prompt_id="sum", text=text, answer=answer, num_tokens=num_tokens, metadata={"k": "v"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n\nb", "a↵\n↵\nb"),
        ("a  \nb ", "a··↵\nb·"),
        ("  a b", "  a b"),
        ("a\tb\r\n", "a\\tb\\r↵\n"),
        ("\x1b[31mred\u200b", "\\x1b[31mred\\u200b"),
        ("ä[bold]<|im_end|>", "ä[bold]<|im_end|>"),
        ("", ""),
    ],
)
def test_every_character_can_be_seen_and_none_of_them_does_anything(text: str, shown: str) -> None:
    assert visible(text).plain == shown


def test_a_prompt_is_shown_with_its_length_its_answer_and_its_metadata() -> None:
    shown = text_of(previewed(Previewed(prompts=(make_preview(),), refused=())))
    for part in ("line 1 · sum", "1+1=", "4 tokens", "answer          2", "k v", "1 prompt as the model would see"):
        assert part in shown
    assert "refused" not in shown


def test_a_prompt_without_an_answer_is_told() -> None:
    assert "none" in text_of(previewed(Previewed(prompts=(make_preview(answer=""),), refused=())))


def test_what_would_be_refused_is_shown_with_its_reason() -> None:
    refused = (Refusal(line=3, id="odd", reason="column 'a' has no value"),)
    shown = text_of(previewed(Previewed(prompts=(), refused=refused)))
    for part in ("1 would be refused", "odd", "column 'a' has no value", "0 prompts"):
        assert part in shown
