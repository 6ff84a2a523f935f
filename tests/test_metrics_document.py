"""The tables of docs/metrics.md are what the processes expose, and what Prometheus is told to compute of it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from learner.metrics import LearnerMetrics
from scheduler import metrics
from scheduler.core.budget import Budget
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.run import EvaluationPlan
from tests.deploy.watched_run import FlakyRewards
from tests.learner.test_metrics import make_report
from tests.scheduler.engine.factories import make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import open_rig

ROOT = Path(__file__).parent.parent
_ROW = re.compile(r"^\| `(pilotcommit[\w:]+)` \| (\w+) \| ([\w, `-]*) \| (.+) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric, as documented or as exposed."""

    kind: str
    labels: frozenset[str]


def documented(heading: str) -> dict[str, Metric]:
    """A section's table."""
    text = (ROOT / "docs/metrics.md").read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return {
        name: Metric(kind=kind, labels=frozenset(re.findall(r"\w+", labels)))
        for name, kind, labels, _ in _ROW.findall(section)
    }


def exposed(page: str) -> dict[str, Metric]:
    """What a page has; raises AssertionError where samples of one metric have different labels."""
    found: dict[str, Metric] = {}
    for family in text_string_to_metric_families(page):
        # The client library's own: when a counter began.
        if family.name.endswith("_created"):
            continue
        labels = {frozenset(sample.labels) for sample in family.samples}
        assert len(labels) == 1, f"{family.name} was not provoked, or has labels of several kinds: {labels}"
        found[family.samples[0].name] = Metric(kind=family.type, labels=labels.pop())
    return found


async def test_what_the_scheduler_exposes_is_documented_and_nothing_else_is(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[0, 50, 50, 100] * 4, rewards=FlakyRewards()) as rig:
        await rig.create_pool("held-out", make_prompts([50], prefix="held"))
        budget = Budget(rollouts=5000, tokens=50_000, eval_rollouts=100, wall_clock_s=3600.0)
        config = make_config(budget=budget, evaluation=EvaluationPlan(pool="held-out", rollouts=2))
        await rig.create_run(replace(config, incomplete=IncompletePolicy.DROP))
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await learner.attach()
        await learner.train(steps=4)
        await learner.take()
        page, _ = await metrics.render(rig.service)
        assert exposed(page.decode()) == documented("Scheduler")


def test_what_the_learner_exposes_is_documented_and_nothing_else_is() -> None:
    learner = LearnerMetrics("run")
    learner.stepped(make_report(), step=1, version=2, num_refused=0)
    assert exposed(generate_latest(learner.registry).decode()) == documented("Learner")


def rules(name: str) -> Iterator[Mapping[str, str]]:
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / name).read_text())["groups"]:
        yield from group["rules"]


def test_every_recording_rule_is_documented_and_nothing_else_is() -> None:
    assert set(documented("Recording rules")) == {rule["record"] for rule in rules("rules.yml")}


def test_every_alert_is_documented_with_its_severity_and_nothing_else_is() -> None:
    section = (ROOT / "docs/metrics.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(Pilotcommit\w+)` \| (\w+) \|", section, re.MULTILINE))
    assert told == {rule["alert"]: yaml.safe_load(str(rule["labels"]))["severity"] for rule in rules("alerts.yml")}


def test_rules_and_dashboards_ask_for_metrics_that_are_there() -> None:
    known = documented("Scheduler") | documented("Learner") | documented("Recording rules")
    folder = ROOT / "deploy"
    texts = [
        folder / "prometheus" / "rules.yml",
        folder / "prometheus" / "alerts.yml",
        *folder.rglob("dashboards/*.json"),
    ]
    asked = {name for path in texts for name in re.findall(r"\bpilotcommit[_:][\w:]+(?=[{\[) ])", path.read_text())}
    assert len(asked) > len(known) / 2
    assert asked <= known.keys()
