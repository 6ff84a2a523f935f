"""Every query that ships, asked of a real Prometheus that scraped a real run with the configuration that ships."""

import math
import re

import pytest
import yaml

from deploy.grafana.board import Panel
from deploy.grafana.boards import BOARDS
from tests.deploy.scraper import INTERVAL_S, SHIPPED, Series
from tests.deploy.watched_run import POOL, RUN, WatchedRun

pytestmark = [pytest.mark.dashboards, pytest.mark.timeout(150)]

PANELS = [(board.name, panel) for board in BOARDS for row in board.rows for panel in row.panels]
RECORDED = [rule for group in yaml.safe_load((SHIPPED / "rules.yml").read_text())["groups"] for rule in group["rules"]]


def filled(expr: str) -> str:
    """A query as Grafana sends it: with the run that is looked at, and its interval of four scrapes."""
    sent = expr.replace("$__rate_interval", f"{4 * INTERVAL_S}s").replace("$run", RUN).replace("$pool", POOL)
    assert "$" not in sent
    return sent


def written_beside(series: Series, legend: str) -> str:
    """Raises KeyError for a label that the series does not have."""
    return re.sub(r"{{(\w+)}}", lambda name: series.labels[name[1]], legend)


@pytest.mark.parametrize(
    "panel", [panel for _, panel in PANELS], ids=[f"{board}: {panel.title}" for board, panel in PANELS]
)
def test_a_panel_has_data_and_a_legend_of_its_own_for_each_series(watched: WatchedRun, panel: Panel) -> None:
    told: list[str] = []
    for query in panel.queries:
        found = watched.scraper.ask(filled(query.expr), at=watched.at)
        assert found, query.expr
        assert not all(math.isnan(series.value) for series in found), query.expr
        told += [written_beside(series, query.legend) for series in found]
    assert len(told) == len(set(told)), told


@pytest.mark.parametrize("rule", RECORDED, ids=[f"{rule['record']} {rule.get('labels', '')}" for rule in RECORDED])
def test_a_recording_rule_has_recorded_numbers(watched: WatchedRun, rule: dict[str, dict[str, str]]) -> None:
    labels = ", ".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
    found = watched.scraper.ask(f"{rule['record']}{{{labels}}}", at=watched.at)
    assert found
    assert all(math.isfinite(series.value) for series in found), found


def test_every_rule_and_alert_can_be_evaluated(watched: WatchedRun) -> None:
    rules = watched.scraper.rules()
    assert len(rules) > len(RECORDED)
    assert [(rule.name, rule.last_error) for rule in rules if rule.health != "ok"] == []


def test_no_alert_fires_over_a_run_that_goes_well(watched: WatchedRun) -> None:
    assert watched.scraper.ask('ALERTS{alertstate="firing"}', at=watched.at) == []


def test_everything_was_scraped_with_a_token_that_may_only_read(watched: WatchedRun) -> None:
    up = watched.scraper.ask("up", at=watched.at)
    assert sorted((series.labels["job"], series.value) for series in up) == [
        ("learner", 1),
        ("scheduler", 1),
        ("sglang", 1),
        ("sglang", 1),
    ]


def test_the_variables_offer_the_pool_and_its_run(watched: WatchedRun) -> None:
    assert watched.scraper.label_values("pool", "pilotcommit_run_info") == [POOL]
    assert watched.scraper.label_values("run", f'pilotcommit_run_info{{pool=~"{POOL}"}}') == [RUN]


def test_prometheus_ends_up_with_what_the_ledger_has(watched: WatchedRun) -> None:
    spent = watched.scraper.number('pilotcommit_budget_rollouts{part="spent"}', at=watched.ended_at)
    assert spent == watched.spent > 0
    ended = watched.scraper.number('sum(pilotcommit_ended_attempts_total{stage!="eval"})', at=watched.ended_at)
    assert ended == watched.spent
