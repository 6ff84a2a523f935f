from scheduler.core.prior import Prior, fit_prior
from scheduler.core.types import Verdict
from scheduler.simulator.memory import Memory
from scheduler.simulator.rollouts import Tally


def visit(memory: Memory, prompt: int, right: int, pilots: int = 8) -> None:
    """A visit that ended after its pilots."""
    evidence = memory.observe(prompt, memory.candidate(prompt).evidence, Tally(pilots=pilots, right_pilots=right))
    memory.judge(prompt, evidence, Verdict.SKIP, "test")


def test_a_prompt_never_visited_looks_like_the_prior() -> None:
    evidence = Memory(discount=0.9).candidate(7).evidence

    assert (evidence.belief.a, evidence.belief.b, evidence.visits) == (1.0, 1.0, 0)


def test_a_visit_is_remembered_at_once() -> None:
    memory = Memory(discount=0.9)
    visit(memory, 7, right=8)

    evidence = memory.candidate(7).evidence
    assert (evidence.belief.a, evidence.visits, evidence.last_verdict) == (9.0, 1, Verdict.SKIP)


def test_what_is_shown_is_aged_and_ageing_does_not_compound_by_being_looked_at() -> None:
    often, once = Memory(discount=0.9), Memory(discount=0.9)
    for memory in (often, once):
        visit(memory, 7, right=8)
    for _ in range(5):
        often.advance()
        once.advance()
        often.candidate(7)

    shown = often.candidate(7).evidence
    assert shown == once.candidate(7).evidence
    assert shown.belief.version == 5
    assert shown.belief.a < 9.0


def test_the_prior_is_fitted_to_the_pilots_of_first_visits_alone() -> None:
    memory = Memory(discount=0.9)
    for prompt in range(20):
        visit(memory, prompt, right=0)
    for _ in range(5):
        visit(memory, 0, right=8)
    assert memory.prior == Prior()
    memory.advance()

    assert memory.prior == fit_prior([(0, 8)] * 20)
    assert memory.candidate(99).evidence.belief.a == memory.prior.a0


def test_visits_without_pilots_say_nothing_of_the_prior() -> None:
    memory = Memory(discount=0.9)
    memory.observe(1, memory.candidate(1).evidence, Tally(commits=8, right_commits=8))
    memory.advance()

    assert memory.prior == Prior()
