"""Where everything is that `pilotcommit up` has started.

Owns: the screen that says so, and its form as JSON. Pure. Invariant: both name the same places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from scheduler.cli.tables import facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """A service on this machine, ready for work."""

    url: str
    """Of the scheduler."""
    folder: Path
    """Everything that is written."""
    servers: Sequence[str]
    redis: str
    """Its address without a password, or `embedded`."""
    learner_metrics_port: int
    """0 where learners serve none, or none is started."""
    learners: bool
    """Whether learners are started for runs."""

    def as_json(self) -> Mapping[str, object]:
        """For programs; `dir` and `url` have always been there."""
        return {
            "url": self.url,
            "dir": str(self.folder),
            "console": f"{self.url}/",
            "docs": f"{self.url}/docs",
            "metrics": f"{self.url}/metrics",
            "learner_metrics": self._learner_metrics,
            "servers": list(self.servers),
            "redis": self.redis,
            "logs": str(self.folder / "logs"),
        }

    def screen(self) -> RenderableType:
        """For people."""
        learner = "none is started here" if not self.learners else self._learner_metrics or "not served"
        return Group(
            facts(
                "ready",
                (
                    ("console", f"{self.url}/"),
                    ("REST API", f"{self.url}/docs"),
                    ("metrics", f"{self.url}/metrics"),
                    ("of learners", learner),
                    ("servers", "\n".join(self.servers)),
                    ("Redis", f"{self.folder / 'redis'}, embedded" if self.redis == "embedded" else self.redis),
                    ("logs", str(self.folder / "logs")),
                ),
            ),
            Text(self._next(), style="dim"),
        )

    @property
    def _learner_metrics(self) -> str | None:
        if not self.learners or not self.learner_metrics_port:
            return None
        return f"http://127.0.0.1:{self.learner_metrics_port}/metrics"

    def _next(self) -> str:
        where = "" if self.url == "http://127.0.0.1:8400" else f"export PILOTCOMMIT_URL={self.url}; "
        return f"next, in another terminal: {where}pilotcommit pool create …; Ctrl-C here stops everything"
