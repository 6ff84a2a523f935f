"""A real Prometheus with the configuration that ships, pointed at what a test serves.

Owns: its process, and asking it. Never changes a rule. Invariant: nothing of it is left when the block ends.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec
import yaml

from deploy.prometheus.install import Prometheus
from scheduler.ports import free_port

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
INTERVAL_S = 1
DEADLINE_S = 60.0
_POLL_S = 0.05

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series at one moment."""

    labels: Mapping[str, str]
    value: float


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A rule as Prometheus tells it."""

    name: str
    health: str
    last_error: str = ""


class _Group(msgspec.Struct, frozen=True, kw_only=True):
    """Of rules."""

    rules: list[Rule]


class _Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A series in an answer."""

    metric: dict[str, str]
    value: tuple[float, str]
    """The moment, and the number as text, which may be NaN."""


class _Target(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is scraped."""

    labels: dict[str, str]
    scrape_url: str
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraper:
    """One Prometheus at work."""

    http: httpx.Client

    def ask(self, expr: str, *, at: float | None = None) -> list[Series]:
        """The series that an expression gives now, or at a moment; raises AssertionError for one it refuses."""
        parameters = {"query": expr} | ({} if at is None else {"time": repr(at)})
        found = self._get("/api/v1/query", parameters, dict[str, object])
        assert found["resultType"] == "vector", found
        return [
            Series(
                labels={name: value for name, value in series.metric.items() if name != "__name__"},
                value=float(series.value[1]),
            )
            for series in msgspec.convert(found["result"], list[_Sample])
        ]

    def number(self, expr: str, *, at: float | None = None) -> float:
        """The only value of an expression; NaN if there is none yet."""
        found = self.ask(expr, at=at)
        assert len(found) <= 1, found
        return found[0].value if found else math.nan

    def label_values(self, label: str, selector: str) -> list[str]:
        """What Grafana's label_values() offers."""
        return self._get(f"/api/v1/label/{label}/values", {"match[]": selector}, list[str])

    def rules(self) -> list[Rule]:
        """Every rule with its health."""
        found = self._get("/api/v1/rules", {}, dict[str, list[_Group]])
        return [rule for group in found["groups"] for rule in group.rules]

    def targets(self) -> Mapping[str, str]:
        """The health of every target, by job and address, with what is wrong."""
        found = self._get("/api/v1/targets", {}, dict[str, object])
        targets = msgspec.convert(found["activeTargets"], list[_Target])
        return {f"{target.labels['job']} {target.scrape_url}": target.last_error for target in targets}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Ask until the condition holds."""
        await polled(lambda: asyncio.to_thread(condition))

    def _get(self, path: str, parameters: Mapping[str, str], kind: type[Answer]) -> Answer:
        answer = self.http.get(path, params=dict(parameters)).json()
        assert answer["status"] == "success", answer
        return msgspec.convert(answer["data"], kind)


async def polled(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the condition holds, or fail at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(_POLL_S)


def configuration(folder: Path, targets: Mapping[str, Sequence[str]], token: str) -> Path:
    """The configuration that ships, with other addresses, another token and less patience."""
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"}
    config["rule_files"] = [str(SHIPPED / name) for name in config["rule_files"]]
    (folder / "token").write_text(token)
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": list(targets[job["job_name"]])}]
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(folder / "token")
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@asynccontextmanager
async def scraping(
    programs: Prometheus, folder: Path, *, targets: Mapping[str, Sequence[str]], token: str
) -> AsyncIterator[Scraper]:
    """A Prometheus that scrapes these addresses, by job."""
    port = free_port()
    log = (folder / "prometheus.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        str(programs.server),
        f"--config.file={configuration(folder, targets, token)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=log,
        stderr=log,
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10.0, trust_env=False) as http:
        try:
            await polled(lambda: asyncio.to_thread(_is_ready, http))
            yield Scraper(http=http)
        finally:
            process.terminate()
            await process.wait()
            log.close()


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/-/ready").is_success
    except httpx.TransportError:
        return False
