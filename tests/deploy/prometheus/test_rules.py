"""Rules, alerts and configuration, as promtool sees them."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.prometheus.install import Prometheus
from tests.deploy.scraper import SHIPPED, configuration

pytestmark = pytest.mark.dashboards

ALERTS = [rule["alert"] for rule in yaml.safe_load((SHIPPED / "alerts.yml").read_text())["groups"][0]["rules"]]
RECORDED = {
    rule["record"] for group in yaml.safe_load((SHIPPED / "rules.yml").read_text())["groups"] for rule in group["rules"]
}


def promtool(prometheus: Prometheus, *arguments: str) -> str:
    """What promtool says; fails the test if it does not agree."""
    done = subprocess.run(
        [str(prometheus.promtool), *arguments], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["rules.yml", "alerts.yml"])
def test_promtool_finds_the_rules_right(prometheus: Prometheus, name: str) -> None:
    assert "SUCCESS" in promtool(prometheus, "check", "rules", str(SHIPPED / name))


def test_promtool_finds_the_configuration_right_with_the_files_it_names(prometheus: Prometheus, tmp_path: Path) -> None:
    promtool(prometheus, "check", "config", "--syntax-only", str(SHIPPED / "prometheus.yml"))
    targets = {"scheduler": ["a:1"], "learner": ["b:1"], "sglang": ["c:1", "d:1"]}
    assert "SUCCESS" in promtool(prometheus, "check", "config", str(configuration(tmp_path, targets, "secret")))


@pytest.mark.parametrize("name", ["rules.yml", "alerts.yml"])
def test_rules_and_alerts_do_what_their_tests_say(prometheus: Prometheus, name: str) -> None:
    promtool(prometheus, "test", "rules", str(SHIPPED / "tests" / name))


def test_promtool_reports_a_rule_that_does_something_else(prometheus: Prometheus, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    for name in ("rules.yml", "alerts.yml", "tests/rules.yml"):
        text = (SHIPPED / name).read_text()
        (tmp_path / name).write_text(
            text.replace("max by (run, stage) (rate(pilotcommit_att", "sum by (run) (rate(pilotcommit_att")
        )
    with pytest.raises(AssertionError, match="FAILED"):
        promtool(prometheus, "test", "rules", str(tmp_path / "tests" / "rules.yml"))


def test_every_alert_is_tested_to_fire_and_to_keep_quiet() -> None:
    cases = yaml.safe_load((SHIPPED / "tests" / "alerts.yml").read_text())["tests"]
    seen = {(case["alertname"], bool(case["exp_alerts"])) for test in cases for case in test["alert_rule_test"]}
    assert seen == {(alert, fires) for alert in ALERTS for fires in (True, False)}


def test_every_recording_rule_is_tested() -> None:
    text = (SHIPPED / "tests" / "rules.yml").read_text()
    assert set(re.findall(r"expr: (pilotcommit:\w+:\w+)", text)) == RECORDED
