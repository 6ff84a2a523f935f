"""Labels of servers, and the labels that a run wants of its servers.

Owns: what a label may be, and which server has those that are wanted. Pure. Invariant: who wants no label wants any
server.
"""

import re
from collections.abc import Iterable, Mapping

from scheduler.core.errors import InvalidInput

Labels = Mapping[str, str]
"""Values by name, as in gpu=h100."""
ANY: Labels = {}
"""Wanted by whoever does not care which server it gets."""
_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_FORM = "letters, digits and . _ - / between, 63 at most"
_MOST = 16


def checked(labels: Labels, field: str) -> dict[str, str]:
    """The same labels; raises InvalidInput, naming `field`, for a name or value that is none."""
    if len(labels) > _MOST:
        raise InvalidInput(f"{len(labels)} labels are more than {_MOST}", field=field)
    for name, value in labels.items():
        for word in (name, value):
            if not _WORD.fullmatch(word):
                raise InvalidInput(f"{word!r} in {name}={value} is no word of a label: {_FORM}", field=field)
    return dict(labels)


def parsed(pairs: Iterable[str], field: str) -> dict[str, str]:
    """Labels written as NAME=VALUE; raises InvalidInput for another form, or a name that is there twice."""
    labels: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"{pair!r} is not NAME=VALUE, as in gpu=h100", field=field)
        if name in labels:
            raise InvalidInput(f"{name} is given twice: {labels[name]} and {value}", field=field)
        labels[name] = value
    return checked(labels, field)


def has(labels: Labels, wanted: Labels) -> bool:
    """Whether a server with `labels` is one that is wanted."""
    return all(labels.get(name) == value for name, value in wanted.items())


def told(labels: Labels) -> str:
    """For people: gpu=h100, zone=a; empty for none."""
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
