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


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question with its answer."""

    family: str
    expression: str
    answer: str
    key: str
    """Equal for commuted forms."""
    text: str
    """What the model reads."""
    name: str = ""
    """What it is called in a pool; without one, by its expression."""


class Candidate(Problem, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the file."""

    success_rate: float
    """Of the base model at temperature 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How far measuring has come."""

    measured: int
    wanted: int


def problem(question: Question) -> Problem:
    """Solved expressions, and one that ends in `=`."""
    examples = "".join(f"{example} = {example.value}\n" for example in question.examples)
    return Problem(
        family=question.label,
        expression=str(question.expression),
        answer=str(question.expression.value),
        key=question.expression.key,
        text=f"{examples or FEW_SHOT}{question.expression} =",
    )


def read(path: Path) -> list[Candidate]:
    """The candidates measured so far; none if there is no file."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Candidate) for line in path.read_bytes().splitlines()]


def measure(problems: Sequence[Problem], model: SuccessRates, path: Path) -> Iterator[Measuring]:
    """Append the success rates of all `problems` that are not in the file yet; says how far it is at each chunk."""
    known = {candidate.text for candidate in read(path)}
    missing = [problem for problem in problems if problem.text not in known]
    done = len(problems) - len(missing)
    with path.open("ab") as lines:
        for chunk in _chunks(missing):
            rates = model.of([Task(text=problem.text, target=f" {problem.answer}\n") for problem in chunk])
            for problem, rate in zip(chunk, rates, strict=True):
                measured = Candidate(**msgspec.structs.asdict(problem), success_rate=float(f"{rate:.4g}"))
                lines.write(msgspec.json.encode(measured) + b"\n")
            lines.flush()
            done += len(chunk)
            yield Measuring(measured=done, wanted=len(problems))


def _chunks(problems: Iterable[Problem]) -> Iterator[tuple[Problem, ...]]:
    """Problems that share all but their expression, and differ little in length: their beginning is computed once."""
    order = sorted(problems, key=lambda problem: (problem.family, len(problem.expression)))
    for _, alike in groupby(order, key=lambda problem: problem.family):
        while chunk := tuple(islice(alike, _CHUNK)):
            yield chunk
