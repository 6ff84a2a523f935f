"""What has to be true of a deployment whose demo has run.

Owns: the questions. Never changes the deployment. Each raises AssertionError with what was found.
"""

from collections.abc import Callable

from scheduler.client import Client
from scheduler.core.lifecycle import RunState
from tests.compose.deployment import Deployment
from tests.deploy.scraper import Scraper

ONCE = frozenset({"secrets", "model-cpu", "demo"})
"""Services that end when they have done what they are for."""
SCRAPED = ("scheduler", "learner", "sglang")
FILLED = (
    "pilotcommit_attempts_total",
    "pilotcommit_verdicts_total",
    "pilotcommit_learner_tokens_total",
    "sglang_num_running_reqs",
    "pilotcommit:ended_rollouts:total",
    "pilotcommit:rollouts:rate10m",
    "pilotcommit:useful_rollouts:ratio",
    "pilotcommit:saved_rollouts:difference",
    "pilotcommit:budget_left:ratio",
    "pilotcommit:servers_ready:count",
)
"""Metrics and recorded series behind the panels of every dashboard."""


def containers_are_well(deployment: Deployment) -> None:
    """Long-lived ones run and are healthy, those with one thing to do have done it, and none is root."""
    for container in deployment.containers():
        assert container.user.partition(":")[0] not in ("", "0", "root"), f"{container} is root"
        if container.service in ONCE:
            assert (container.state, container.exit_code) == ("exited", 0), container
        else:
            assert (container.state, container.health) == ("running", "healthy"), container


def the_books_balance(client: Client, run_id: str, budget_rollouts: int) -> None:
    """The run ended as it should, within its budget, with every attempt accounted for."""
    run, ledger = client.run(run_id), client.ledger(run_id)
    assert run["state"] in (RunState.FINISHED, RunState.EXHAUSTED), run
    assert ledger["balanced"] is True, ledger
    assert 0 < int(str(ledger["spent_rollouts"])) <= budget_rollouts, ledger


def prometheus_saw_it(scraper: Scraper) -> None:
    """All three kinds of process were scraped, every rule is well, and what the dashboards show is there."""
    for job in SCRAPED:
        assert scraper.number(f'max(max_over_time(up{{job="{job}"}}[1h]))') == 1, scraper.targets()
    ill = [rule.name for rule in scraper.rules() if rule.health != "ok"]
    assert not ill, ill
    empty = [name for name in FILLED if not scraper.ask(f"count(count_over_time({name}[1h])) > 0")]
    assert not empty, empty


def the_scheduler_has_no_torch(deployment: Deployment) -> None:
    """Its image stays small."""
    question = "from importlib.util import find_spec; print(find_spec('torch'), find_spec('learner') is not None)"
    assert deployment.run("cli", "-c", question, entrypoint="python") == "None True"


def a_second_start_submits_nothing(deployment: Deployment, client: Client) -> None:
    """The demo is for a deployment that has no run."""
    before = [run["run_id"] for run in client.runs()]
    deployment.run("demo")
    assert [run["run_id"] for run in client.runs()] == before


def nothing_is_lost_when_all_of_it_restarts(
    deployment: Deployment, client: Client, run_id: str, until_ready: Callable[[], None]
) -> None:
    """The ledger, and who may ask for it, outlive every container."""
    before = client.ledger(run_id)
    deployment.compose("restart", "redis", "scheduler")
    until_ready()
    assert client.ledger(run_id) == before
