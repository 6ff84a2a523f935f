"""What a document tells its reader to do, in its order.

Owns: reading documents into steps. Never runs anything. Invariant: every shell block of a document becomes steps, and
what is left out of them is left out by name, with the reason.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"^# (?P<name>[\w.-]+\.\w+)\n")
_SHELLS = ("bash", "sh")
_GOES_ON = re.compile(r"^pilotcommit up\b", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A file that the reader is shown, to be saved under the name in its first line."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A block of commands for one terminal."""

    lines: tuple[str, ...]
    goes_on: bool = False
    """It ends with the reader's Ctrl-C only; what follows is typed in another terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A command that is not run, and why."""

    line: str
    reason: str


Step = Write | Run | LeftOut


def steps(markdown: str, *, left_out: Mapping[str, str], done: Sequence[str] = ()) -> Iterator[Step]:
    """The steps of a document; `left_out` has the reason by how a command begins, `done` what was run already."""
    for block in _BLOCK.finditer(markdown):
        named = _NAMED.match(block["text"])
        if block["kind"] in _SHELLS:
            yield from _shell(block["text"], left_out, done)
        elif named:
            yield Write(name=named["name"], text=block["text"])


def _shell(text: str, left_out: Mapping[str, str], done: Sequence[str]) -> Iterator[Step]:
    kept = list[str]()
    for line in _commands(text):
        reason = next((reason for start, reason in left_out.items() if line.startswith(start)), "")
        reason = reason or ("it was run before" if line in done else "")
        if reason:
            yield LeftOut(line=line, reason=reason)
        else:
            kept.append(line)
    if kept:
        yield Run(lines=tuple(kept), goes_on=bool(_GOES_ON.search("\n".join(kept))))


def _commands(text: str) -> Iterator[str]:
    """Commands of a block, one a line: continued lines joined, comments after them taken away."""
    for line in text.replace("\\\n", " ").splitlines():
        if command := re.sub(r"\s+# .*$", "", line.removeprefix("$ ")).strip():
            yield command


def shortened(run: Run, *, rollouts: int) -> Run:
    """The same with a demo that may spend little; one whose budget is written stays as it is."""
    return Run(lines=tuple(_short(line, rollouts) for line in run.lines), goes_on=run.goes_on)


def _short(line: str, rollouts: int) -> str:
    if not line.startswith("make demo"):
        return line
    given = re.search(r'ARGS="(.*)"', line)
    arguments = [re.sub(r"--budget-rollouts \S+", "", given[1]).strip()] if given else []
    return f'make demo ARGS="{" ".join([*arguments, f"--budget-rollouts {rollouts}"])}"'
