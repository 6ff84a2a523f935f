"""What a dashboard is to those who write one: rows of panels, and their queries.

Owns: these values, and how a query asks for one run's metrics. Never knows Grafana's format. Invariants: a panel says
what it shows, in which unit, with a legend for every query; whatever is of a run is asked for once, although a standby
shows it too.
"""

from dataclasses import dataclass
from enum import StrEnum

WIDTH = 24
"""Columns of a dashboard."""


class Look(StrEnum):
    """How a panel is drawn."""

    LINES = "lines"
    """Over time."""
    STACKED = "stacked"
    """Over time, the series on top of each other: what adds up to something."""
    NUMBER = "number"
    """The newest value, in large."""
    BARS = "bars"
    """The newest values, one bar each."""
    HISTOGRAM = "histogram"
    """Cumulative counts by upper edge (`le`), as a map over time."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression."""

    expr: str
    legend: str
    """With Grafana's {{label}} in it where the expression gives more than one series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture."""

    title: str
    description: str
    unit: str
    """Grafana's name of it."""
    queries: tuple[Query, ...]
    look: Look = Look.LINES
    width: int = 8
    missing: str = "-"
    """What is shown where there is no data, for which there may be good reasons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard."""

    name: str
    """Of its file, and of its address in Grafana after `pilotcommit-`."""
    title: str
    description: str
    rows: tuple[Row, ...]


def now(metric: str, *by: str, where: str = "") -> str:
    """A metric of the run that is looked at, by these labels."""
    return f"max by ({', '.join(by)}) ({_selected(metric, where)})" if by else f"max({_selected(metric, where)})"


def per_second(metric: str, *by: str, where: str = "") -> str:
    """How fast a counter of the run grows."""
    rate = f"rate({_selected(metric, where)}[$__rate_interval])"
    return f"max by ({', '.join(by)}) ({rate})" if by else f"max({rate})"


def summed(expr: str, *by: str) -> str:
    """The sum over what is not named."""
    return f"sum by ({', '.join(by)}) ({expr})" if by else f"sum({expr})"


def recorded(rule: str, where: str = "") -> str:
    """A recording rule's series of the run."""
    return _selected(f"pilotcommit:{rule}", where)


def _selected(metric: str, where: str) -> str:
    name = metric if ":" in metric else f"pilotcommit_{metric}"
    return f'{name}{{run="$run"{f", {where}" if where else ""}}}'
