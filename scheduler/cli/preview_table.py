"""What the model will see, on a terminal.

Owns: how a prompt is shown before it is stored. Pure. Invariant: every character of it can be seen, and none of them
does anything to the terminal.
"""

from rich.console import Group, RenderableType
from rich.text import Text

from scheduler.cli import words
from scheduler.cli.answers import Preview, Previewed
from scheduler.cli.tables import facts, refusals

_NEW_LINE = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
_SPACE = words.DOT


def previewed(found: Previewed) -> RenderableType:
    """Each prompt with its special tokens, its length and its answer; then what would be refused."""
    parts: list[RenderableType] = [_prompt(prompt) for prompt in found.prompts]
    if found.refused:
        parts += [Text(f"{len(found.refused):,} would be refused", style="red"), refusals(found.refused)]
    note = f"{words.plural(len(found.prompts), 'prompt')} as the model would see them; nothing was stored"
    return Group(*parts, Text(note, style="dim"))


def visible(text: str) -> Text:
    """A text with its ends of lines, spaces before those and characters that cannot be seen, dimmed."""
    shown = Text()
    *whole, last = text.split("\n")
    for line in whole:
        _add_line(shown, line)
        shown.append(f"{_NEW_LINE}\n", style="dim")
    _add_line(shown, last)
    return shown


def _add_line(shown: Text, line: str) -> None:
    bare = line.rstrip(" ")
    for character in bare:
        if character.isprintable():
            shown.append(character)
        else:
            shown.append(repr(character)[1:-1], style="dim")
    shown.append(_SPACE * (len(line) - len(bare)), style="dim")


def _prompt(found: Preview) -> RenderableType:
    notes = ", ".join(f"{name} {value}" for name, value in found.metadata.items())
    return facts(
        f"line {found.line} {words.DOT} {found.prompt_id}",
        (
            ("the model sees", visible(found.text)),
            ("length", words.plural(found.num_tokens, "token")),
            ("answer", visible(found.answer) if found.answer else Text("none", style="yellow")),
            *((("metadata", visible(notes)),) if notes else ()),
        ),
    )
