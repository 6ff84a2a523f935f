"""How long servers took to start here, so that the next start can say how long it will.

Owns: the file with the last duration for each model. Invariant: a file that cannot be read or written costs the
forecast, and never a start.
"""

import json
from contextlib import suppress
from pathlib import Path

import msgspec

_UNKNOWN = "half a minute on a CPU, longer for large models"


class StartTimes:
    """The last start of one model."""

    def __init__(self, path: Path, *, model: Path) -> None:
        """`path` is of the file, which need not exist; `model` is the folder that servers load."""
        self._path = path
        self._model = str(model)
        self._last_s = self._read().get(self._model)

    def expected(self) -> str:
        """How long a start will take, in words."""
        return _UNKNOWN if self._last_s is None else f"it took {self._last_s:.0f} s the last time"

    def told(self, waited_s: float) -> str:
        """How far a start is, in words."""
        so_far = f"SGLang is loading the model: {waited_s:.0f} s so far"
        if self._last_s is None:
            return so_far
        left_s = self._last_s - waited_s
        return (
            f"{so_far}, about {left_s:.0f} s left" if left_s > 0 else f"{so_far}, {-left_s:.0f} s longer than last time"
        )

    def keep(self, took_s: float) -> None:
        """Remember how long this start took."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({**self._read(), self._model: round(took_s, 1)}))

    def _read(self) -> dict[str, float]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, float])
        except (OSError, msgspec.DecodeError):
            return {}
