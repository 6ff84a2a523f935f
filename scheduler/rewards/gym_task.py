"""A task of reasoning-gym, set up as text says.

Owns: finding the package, its tasks and their settings, and what is said of those that are not there. Invariant: the
same text sets up the same task wherever it is read: where prompts are made, and where they are judged.
"""

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Protocol

from scheduler.core.errors import InvalidInput
from scheduler.core.near import near
from scheduler.rewards import extras

EXTRA = "reasoning"
_APART = frozenset({"composite"})
"""Made of other tasks, which are set up by code."""


class Task(Protocol):
    """What is used of a task of the package."""

    def __iter__(self) -> Iterator[dict[str, object]]:
        """Its entries, made one by one."""

    def score_answer(self, answer: str, entry: Mapping[str, object]) -> object:
        """What an answer to an entry is worth, from 0 to 1."""


def make(name: str, settings: Mapping[str, str]) -> Task:
    """The task, with these of its settings as given and the others as the package has them.

    Raises InvalidInput for a task or a setting that there is none of, a value that does not do, or without the package.
    """
    factory = extras.load("reasoning_gym.factory", "reasoning-gym", EXTRA)
    known = sorted(factory.DATASETS.keys() - _APART)
    if name not in known:
        meant = near(name, known)
        raise InvalidInput(
            f"reasoning-gym has no task {name!r}: {f'did you mean {meant[0]}?' if meant else 'it has'} "
            + ("" if meant else ", ".join(known)),
            field="task",
        )
    kinds = typing.get_type_hints(factory.DATASETS[name][1])
    names = [each.name for each in dataclasses.fields(factory.DATASETS[name][1])]
    if unknown := [key for key in settings if key not in names]:
        raise InvalidInput(f"{name} has no setting {unknown[0]!r}: it has {', '.join(names)}", field=unknown[0])
    values = {key: _value(name, key, text, kinds[key]) for key, text in settings.items()}
    try:
        task: Task = factory.create_dataset(name, **values)
    # Its own checks assert; what it does with numbers that make no sense raises whatever comes of that.
    except Exception as exc:
        given = ", ".join(f"{key}={text}" for key, text in settings.items()) or "no settings"
        raise InvalidInput(f"{name} does not do with {given}: {exc or type(exc).__name__}", field=name) from exc
    return task


def _value(task: str, key: str, text: str, kind: type[object]) -> object:
    """JSON, where it is that and does, or the text itself."""
    # Not at the top: workers of other rewards, and other commands, start without it.
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_python(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        return adapter.validate_python(text)
    except ValidationError as exc:
        raise InvalidInput(f"{key}={text} of {task}: {exc.errors()[0]['msg']}", field=key) from exc
