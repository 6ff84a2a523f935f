"""The scorers of reasoning-gym.

Owns: making the scorer of a task, and what of a text is its answer. Never limits its own time (the worker it runs in
is killed). Invariant: a text that makes no sense is wrong; a scorer that takes not even the reference answer raises.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from scheduler.core.errors import RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards import extras, gym_entry, gym_task
from scheduler.rewards.user_function import read_answer

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_TASKS_KEPT = 32
_OUT_OF_ROOM = (MemoryError, RecursionError)

Score = Callable[[str, Mapping[str, object]], object]


def load() -> Callable[[str, Mapping[str, object]], Judgement]:
    """The judge of (text, metadata); raises InvalidInput where reasoning-gym is not installed."""
    extras.load("reasoning_gym", "reasoning-gym", gym_task.EXTRA)

    @lru_cache(maxsize=_TASKS_KEPT)
    def task_of(name: str, settings: tuple[tuple[str, str], ...]) -> gym_task.Task:
        return gym_task.make(name, dict(settings))

    def judge(text: str, metadata: Mapping[str, object]) -> Judgement:
        made = gym_entry.read(metadata)
        score = task_of(made.task, tuple(sorted(made.settings.items()))).score_answer
        entry = made.thawed()
        try:
            said = score(answer_in(text), entry)
        except _OUT_OF_ROOM:
            raise
        except Exception as exc:
            if not _takes(score, entry):
                raise RewardFailed(f"the scorer of {made.task} takes no answer to this prompt: {exc!r}") from exc
            said = 0.0
        reward = read_answer(said).reward
        return Judgement(reward=reward, correct=reward >= 1.0)

    return judge


def answer_in(text: str) -> str:
    """What stands between the last <answer> and </answer>, or all of the text where there are none."""
    tagged = _TAGGED.findall(text)
    return str(tagged[-1] if tagged else text).strip()


def _takes(score: Score, entry: Mapping[str, object]) -> bool:
    """Whether the scorer works for the entry's own answer: what it raised is then the text's fault."""
    answer = entry.get("answer")
    if not isinstance(answer, str):
        return False
    try:
        score(answer, entry)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True
