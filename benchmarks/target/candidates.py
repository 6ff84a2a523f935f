"""Candidates: expressions with the base model's measured success rate, on disk as they are measured.

Owns: the file of candidates and its measuring. Invariant: a candidate that was measured is never measured again, so
measuring may be interrupted and widened.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import msgspec

from benchmarks.target.expressions import Question
from benchmarks.target.success_rates import SuccessRates, Task
from scheduler.demo.arithmetic import FEW_SHOT

_CHUNK = 64


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the file."""

    family: str
    expression: str
    answer: str
    key: str
    """Equal for commuted forms."""
    text: str
    """What the model reads."""
    success_rate: float
    """Of the base model at temperature 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How far measuring has come."""

    measured: int
    wanted: int


def prompt_text(question: Question) -> str:
    """Solved expressions, and one that ends in `=`."""
    examples = "".join(f"{example} = {example.value}\n" for example in question.examples)
    return f"{examples or FEW_SHOT}{question.expression} ="


def read(path: Path) -> list[Candidate]:
    """The candidates measured so far; none if there is no file."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Candidate) for line in path.read_bytes().splitlines()]


def measure(questions: Sequence[Question], model: SuccessRates, path: Path) -> Iterator[Measuring]:
    """Append the success rates of all `questions` that are not in the file yet; says how far it is at each chunk."""
    known = {candidate.text for candidate in read(path)}
    missing = [question for question in questions if prompt_text(question) not in known]
    done = len(questions) - len(missing)
    with path.open("ab") as lines:
        for chunk in _chunks(missing):
            rates = model.of([_task(question) for question in chunk])
            for question, rate in zip(chunk, rates, strict=True):
                lines.write(msgspec.json.encode(_candidate(question, rate)) + b"\n")
            lines.flush()
            done += len(chunk)
            yield Measuring(measured=done, wanted=len(questions))


def _candidate(question: Question, rate: float) -> Candidate:
    return Candidate(
        family=question.label,
        expression=str(question.expression),
        answer=str(question.expression.value),
        key=question.expression.key,
        text=prompt_text(question),
        success_rate=float(f"{rate:.4g}"),
    )


def _task(question: Question) -> Task:
    return Task(text=prompt_text(question), target=f" {question.expression.value}\n")


def _chunks(questions: Iterable[Question]) -> Iterator[tuple[Question, ...]]:
    """Questions that share all but their expression, and differ little in length: their beginning is computed once."""
    order = sorted(questions, key=lambda question: (question.label, len(str(question.expression))))
    for _, alike in groupby(order, key=lambda question: question.label):
        while chunk := tuple(islice(alike, _CHUNK)):
            yield chunk
