"""The document on allocators says what they are, and its example of a rule of one's own works as printed."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from scheduler.core.allocators.catalogue import AllocatorName, build_allocator
from scheduler.core.allocators.interface import Allocator, Commit, Decision, More, Settle
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Stage, Verdict
from tests.scheduler.core.factories import make_candidate, make_demand, make_evidence, make_rollouts

DOCUMENT = (Path(__file__).parents[1] / "docs" / "allocators.md").read_text()
ROWS = {row.split("`")[1]: row.split(" | ") for row in DOCUMENT.splitlines() if row.startswith("| `")}
EASY = Settle(verdict=Verdict.SKIP, reason="too_easy", revisit_after=0)
HARD = Settle(verdict=Verdict.DEFER, reason="too_hard", revisit_after=4)


def as_printed(default: float | int | None) -> str:
    """A default as the document prints it."""
    return "null" if default is None else f"{default:.3g}"


@pytest.fixture
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Allocator:
    """The printed rule, named as a run would name it."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "printed_rules.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    return build_allocator("printed_rules:Curious", pilots=8, commits=24, parameters={"least": 0.1})


def test_the_table_has_every_rule_that_ships_and_no_other() -> None:
    assert set(ROWS) == set(AllocatorName)


@pytest.mark.parametrize("name", AllocatorName)
def test_the_table_has_every_parameter_with_its_default(name: AllocatorName) -> None:
    built = build_allocator(name, pilots=8, commits=8, parameters={})
    defaults = {
        parameter.name: as_printed(parameter.default)
        for parameter in inspect.signature(type(built)).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    }
    assert dict(re.findall(r"`(\w+)` ([\w.]+)", ROWS[name][3])) == defaults


def test_the_printed_rule_takes_about_thirty_lines() -> None:
    (body,) = re.findall(r"```python\n.*?(@dataclass.*?)```", DOCUMENT, re.DOTALL)
    assert len(body.splitlines()) <= 32


def test_the_printed_rule_claims_the_least_visited_prompts(rule: Allocator) -> None:
    candidates = [make_candidate("seen", visits=2), make_candidate("new"), make_candidate("known", visits=1)]
    ranking = rule.rank(candidates, make_demand(prompts=2), np.random.default_rng(0))
    assert ranking.claim == ("new", "known")


@pytest.mark.parametrize(
    ("correct", "decision"),
    [(0, HARD), (1, Commit(count=10)), (4, Commit(count=24)), (7, Commit(count=10)), (8, EASY)],
)
def test_the_printed_rule_commits_the_more_the_more_pilots_disagree(
    rule: Allocator, correct: int, decision: Decision
) -> None:
    assert (rule.name, rule.largest_group) == ("curious", 32)
    assert rule.decide(make_evidence(), ()) == More(count=8)
    assert rule.decide(make_evidence(), make_rollouts(correct, 8)) == decision


def test_the_printed_rule_resumes_a_half_done_visit(rule: Allocator) -> None:
    rollouts = [*make_rollouts(4, 8), *make_rollouts(0, 20, Stage.COMMIT)]
    assert rule.decide(make_evidence(), rollouts) == Commit(count=4)


def test_a_parameter_of_the_printed_rule_is_checked_as_those_of_the_shipped_ones(rule: Allocator) -> None:
    with pytest.raises(InvalidInput, match="a number for least, not None"):
        build_allocator("printed_rules:Curious", pilots=8, commits=24, parameters={"least": None})
