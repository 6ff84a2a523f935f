"""What a run costs in operations: guarded by counting them, for a clock would measure the machine.

The bounds are what the steps need; a change that needs more of them has to say why.
"""

from scheduler.core.types import Stage
from scheduler.service import RunView
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig

STEPS, BATCH, PILOTS, COMMITS = 4, 4, 8, 24
TRANSACTION, GENERATE = "EVALSHA", "/generate"


async def whole_run(rig: Rig, learner: Learner) -> RunView:
    await rig.create_run(make_config(pilots=PILOTS, commits=COMMITS, batch_size=BATCH, max_steps=STEPS))
    await learner.attach()
    await learner.train()
    return await rig.ended()


async def test_a_visit_costs_no_more_transactions_than_it_has_steps(rig: Rig, learner: Learner) -> None:
    view = await whole_run(rig, learner)
    visits = sum(count for name, count in view.counters.items() if name.startswith("verdict:"))
    committed = view.counters["verdict:commit"]
    assert committed >= STEPS * BATCH
    # Launch, land and an end for each visit, launch and land once more for a commit; the rest is the run's, by steps.
    assert rig.connection.sent[TRANSACTION] <= 3 * visits + 2 * committed + 10 * STEPS + 16


async def test_an_attempt_is_one_call_of_a_server(rig: Rig, learner: Learner) -> None:
    view = await whole_run(rig, learner)
    attempts = sum(view.ledger.stages[stage].attempts for stage in (Stage.PILOT, Stage.COMMIT))
    # What asks for nothing proves, once a version, that the server generates.
    assert attempts <= rig.connection.sent[GENERATE] <= attempts + STEPS + 2


async def test_prompts_that_are_wanted_together_are_claimed_in_one_transaction(rig: Rig, learner: Learner) -> None:
    rig.fakes[0].hold()
    await rig.create_run(make_config(pilots=1, commits=1, batch_size=12, max_staleness=0))
    await learner.attach()
    before = rig.connection.sent[TRANSACTION]
    await rig.until(lambda: len(rig.fakes[0].in_flight) >= 12)
    sent = rig.connection.sent[TRANSACTION] - before
    claimed = await rig.redis.hlen(rig.stores(make_config()).keys.visits)
    # A launch for each, a claim for all of a look, and what the run says of itself meanwhile.
    assert claimed >= 12
    assert sent < claimed + 8
