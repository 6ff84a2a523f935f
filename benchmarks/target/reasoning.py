"""Questions of reasoning-gym: the candidates of a second pool, made by others than us.

Owns: which of its tasks, how hard, and what the model reads. Needs the package `reasoning-gym`. Invariant: the same
seed gives the same questions; none is asked twice, and none that is shown solved is asked.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

import reasoning_gym

from benchmarks.target.candidates import Problem

_TASKS: Mapping[str, Mapping[str, int]] = {
    "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
    "count_bits": {"min_n": 1, "max_n": 255},
    "gcd": {"min_value": 2, "max_value": 24},
    "lcm": {"min_value": 2, "max_value": 12},
    "letter_counting": {"min_words": 1, "max_words": 3},
    "number_sequence": {"min_terms": 4, "max_terms": 6, "min_value": 0, "max_value": 20, "max_complexity": 1},
    "products": {"min_digits": 1, "max_digits": 2},
    "simple_equations": {"min_terms": 2, "max_terms": 2, "max_value": 12},
    "spell_backward": {"min_word_len": 3, "max_word_len": 4},
}
"""Tasks with short questions and answers, of a difficulty that a model of 135 million parameters can meet."""
_NUM_SHOWN = 4
_LONGEST_ANSWER = 4
"""Characters: with the space before it and the newline after it, the six tokens that a rollout may have."""
_DRAWN_PER_QUESTION = 8


def problems(per_task: int, seed: int) -> tuple[Problem, ...]:
    """`per_task` questions of each task, after four solved ones that all questions of the task show."""
    return tuple(problem for task in _TASKS for problem in _problems(task, per_task, seed))


def _problems(task: str, count: int, seed: int) -> Iterator[Problem]:
    distinct = dict(islice(_questions(task, count, seed), _NUM_SHOWN + count))
    shown = dict(islice(distinct.items(), _NUM_SHOWN))
    before = "".join(f"Q: {question}\nA: {answer}\n" for question, answer in shown.items())
    for number, (question, answer) in enumerate(islice(distinct.items(), _NUM_SHOWN, None)):
        yield Problem(
            name=f"{task}-{number}",
            family=task,
            expression=question,
            answer=answer,
            key=f"{task}: {question}",
            text=f"{before}Q: {question}\nA:",
        )


def _questions(task: str, count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Distinct questions on one line, with answers that a rollout can hold."""
    seen = set()
    size = _DRAWN_PER_QUESTION * (_NUM_SHOWN + count)
    for item in reasoning_gym.create_dataset(task, size=size, seed=seed, **_TASKS[task]):
        question, answer = " ".join(str(item["question"]).split()), str(item["answer"])
        if question not in seen and len(answer) <= _LONGEST_ANSWER:
            seen.add(question)
            yield question, answer
