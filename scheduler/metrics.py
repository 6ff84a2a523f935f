"""The scheduler's Prometheus page, rendered from the ledger when it is scraped.

Owns: what is read for a page, and the metrics of the fleet. Never counts by itself, so the page agrees with the ledger
after any crash. Invariants: labels come from closed sets and from what an operator named (runs, pools, servers), never
from prompts; an ended run keeps its labels until another one has ended.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scheduler.core.lifecycle import ENDED, ServerState, takes_attempts
from scheduler.fleet import ServerView
from scheduler.run_metrics import RUN_METRICS, RunReading
from scheduler.service import RunView, Service

PREFIX = "pilotcommit_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything on the page, read at one scrape."""

    runs: tuple[RunReading, ...]
    servers: tuple[ServerView, ...]
    now: float
    """Seconds since the epoch."""


async def render(service: Service) -> tuple[bytes, str]:
    """The page and its content type."""
    registry = CollectorRegistry()
    registry.register(Page(await _read(service)))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


async def _read(service: Service) -> Reading:
    runs = [
        RunReading(
            view=view,
            evaluations=tuple(await service.views.evaluations(view.record.run_id)),
            spread=await service.views.spread(view),
        )
        for view in shown(await service.views.runs())
    ]
    return Reading(runs=tuple(runs), servers=tuple(service.fleet.view()), now=time.time())


def shown(views: Sequence[RunView]) -> list[RunView]:
    """The runs that keep their labels: those that have not ended, and the one that ended last."""
    ended = [view for view in views if view.record.state in ENDED]
    last = max(ended, key=lambda view: view.record.ended_at or view.record.created_at, default=None)
    return [view for view in views if view.record.state not in ENDED or view is last]


class Page(Collector):
    """One reading as metric families."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        """Every family, present even while there is no run, so that a query finds it."""
        for metric in RUN_METRICS:
            family = metric.family(PREFIX + metric.name, metric.text, labels=("run", *metric.labels))
            for run in self._reading.runs:
                for labels, number in metric.rows(run, self._reading.now):
                    family.add_metric((run.view.record.run_id, *labels), number)
            yield family
        yield from _servers(self._reading.servers)


def _servers(servers: Sequence[ServerView]) -> Iterator[Metric]:
    states = GaugeMetricFamily(f"{PREFIX}servers", "Servers by state.", labels=("state",))
    for state in ServerState:
        states.add_metric((state,), sum(server.state is state for server in servers))
    yield states
    for name, text, value in _SERVER_METRICS:
        family = GaugeMetricFamily(f"{PREFIX}server_{name}", text, labels=("server",))
        for server in servers:
            family.add_metric((server.url,), value(server))
        yield family


_SERVER_METRICS: tuple[tuple[str, str, Callable[[ServerView], float]], ...] = (
    ("ready", "1 if the server takes requests, else 0.", lambda server: takes_attempts(server.state, server.standing)),
    ("in_flight_attempts", "Attempts in flight on the server.", lambda server: server.in_flight),
    (
        "capacity_attempts",
        "Attempts in flight on the server at most, as its queue and KV cache allow now.",
        lambda server: server.capacity,
    ),
    ("weight_version", "Weight version confirmed on the server last; 0 before any.", lambda server: server.version),
)
