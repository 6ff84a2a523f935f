"""How hard a pool is, from first visits."""

import pytest

from scheduler.core.allocators.catalogue import build_allocator
from scheduler.core.allocators.interface import Allocator, More, Settle
from scheduler.core.allocators.profiling import Profiling
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import attempts_counter
from scheduler.core.prior import Prior
from scheduler.core.profile import profile
from scheduler.core.spend import VISITED, first_verdict_counter
from scheduler.core.types import Stage
from tests.factories import make_rollout

EVIDENCE = Evidence.fresh(Prior(), version=1)
SEEN = {(0, 4): 20, (1, 4): 10, (2, 4): 5, (4, 4): 15, (1, 2): 1}
COUNTERS = {
    **{first_verdict_counter(correct, pilots): prompts for (correct, pilots), prompts in SEEN.items()},
    # Two of them were interrupted, and the third was judged by fewer pilots than asked for.
    VISITED: 53,
    attempts_counter(Stage.PILOT): 210,
    "tokens:pilot": 2100,
}


def rule(name: str = "pilot_commit") -> Allocator:
    return build_allocator(name, pilots=4, commits=4, parameters={})


def test_the_histogram_has_every_pass_rate_and_the_shares_are_of_whole_prompts() -> None:
    found = profile(COUNTERS, rule(), pilots=4)
    assert [(bar.correct, bar.pass_rate, bar.prompts) for bar in found.bars] == [
        (0, 0.0, 20),
        (1, 0.25, 10),
        (2, 0.5, 5),
        (3, 0.75, 0),
        (4, 1.0, 15),
    ]
    assert (found.num_prompts, found.num_unfinished) == (50, 3)
    assert (found.all_wrong_rate, found.mixed_rate, found.all_right_rate) == (0.4, 0.3, 0.3)
    assert found.mean_pass_rate == pytest.approx((10 * 0.25 + 5 * 0.5 + 15) / 50)
    assert (found.num_rollouts, found.tokens_per_rollout, found.tokens_per_prompt) == (210, 10.0, 2100 / 53)


def test_what_the_rule_would_commit_is_what_it_decides_on_these_pilots() -> None:
    found = profile(COUNTERS, rule("speed_rl"), pilots=4)
    assert found.decisions["commit"] == 15
    assert found.skip_rate == pytest.approx(35 / 50)
    everything = profile(COUNTERS, rule("grpo"), pilots=4)
    assert (everything.decisions, everything.skip_rate) == ({"commit": 50}, 0.0)


def test_a_rule_that_wants_more_pilots_is_said_to_and_counts_for_no_skip_rate() -> None:
    found = profile(COUNTERS, Profiling(pilots=6), pilots=4)
    assert (found.decisions, found.skip_rate) == ({"more": 50}, None)


def test_before_the_first_prompt_there_are_no_shares() -> None:
    found = profile({}, rule(), pilots=2)
    assert found.num_prompts == 0
    shares = (found.mean_pass_rate, found.mixed_rate, found.skip_rate, found.tokens_per_prompt)
    assert (shares, found.tokens_per_rollout) == ((None,) * 4, None)


@pytest.mark.parametrize(("rewards", "reason"), [((0, 0), "all_wrong"), ((1, 0), "mixed"), ((1, 1), "all_right")])
def test_a_profile_asks_for_its_pilots_and_is_done_with_a_prompt_whatever_they_say(
    rewards: tuple[int, ...], reason: str
) -> None:
    looks = Profiling(pilots=2)
    rollouts = [make_rollout(reward=float(reward)) for reward in rewards]
    assert (looks.name, looks.largest_group) == ("profile", 2)
    assert looks.decide(EVIDENCE, ()) == More(count=2)
    assert looks.decide(EVIDENCE, rollouts[:1]) == More(count=1)
    decided = looks.decide(EVIDENCE, rollouts)
    assert isinstance(decided, Settle)
    assert (decided.reason, decided.revisit_after) == (reason, None)
