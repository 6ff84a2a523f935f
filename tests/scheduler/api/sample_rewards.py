"""A reward with a bug for one prompt and an endless loop for another. Loaded in worker processes by the tests."""

import os
import threading
from collections.abc import Mapping

from tests.scheduler.rewards.sample_escapes import ESCAPES


def judge(text: str, answer: str, metadata: Mapping[str, str]) -> bool:
    """Whether the text is the answer, unless the prompt's metadata says what goes wrong."""
    if metadata.get("does") == "raise":
        raise KeyError("no such unit")
    if metadata.get("does") in ESCAPES:
        ESCAPES[metadata["does"]](metadata)
    if metadata.get("does") == "hang once" and _is_first(metadata["marker"]):
        threading.Event().wait()
    return text.strip() == answer


def _is_first(marker: str) -> bool:
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
