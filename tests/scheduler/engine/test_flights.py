"""Attempts that are called back, and those that never are."""

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from redis.asyncio import Redis

from inference.client import ServerClient
from inference.fake import Answer, Ask, Hang
from inference.protocol import ModelLimits
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import ServerState
from scheduler.core.run import RunConfig
from scheduler.core.staleness import next_batch_version
from scheduler.core.stragglers import StragglerPolicy
from scheduler.core.types import Stage
from scheduler.engine.flights import Flight, Flights, Recall, Volley
from scheduler.fleet import Server
from scheduler.fleet.dispatcher import Dispatch
from tests.scheduler.engine.factories import Coin, make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

VERSIONS = range(1, 6)


def under_way(*, stage: Stage = Stage.COMMIT, oldest: int | None = None) -> tuple[Volley, Flight]:
    """A volley with one attempt that waits for a server."""
    flight = Flight(rid="rid")
    return Volley(prompt_id="p", stage=stage, num_wanted=1, oldest=oldest, flights={flight}), flight


@pytest.mark.parametrize("max_staleness", [0, 1, 2])
async def test_exactly_what_no_batch_to_come_could_take_is_called_back(max_staleness: int) -> None:
    config = make_config(max_staleness=max_staleness)
    for oldest, policy_version, is_batch_out in product(VERSIONS, VERSIONS, (False, True)):
        volley, flight = under_way(oldest=oldest)
        flights = Flights(config)
        first = next_batch_version(policy_version, is_batch_out=is_batch_out)
        with flights.under_way(volley):
            flights.look(first, now=0.0)
        could_be_used = any(consumed - oldest <= max_staleness for consumed in range(first, first + 10))
        assert flight.recalled is (None if could_be_used else Recall.TOO_STALE)


async def test_an_evaluation_and_what_nothing_is_known_of_are_never_called_back() -> None:
    flights = Flights(make_config(max_staleness=0))
    measured, unsent = under_way(stage=Stage.EVAL, oldest=1), under_way(oldest=None)
    with flights.under_way(measured[0]), flights.under_way(unsent[0]):
        flights.look(100, now=0.0)
    assert measured[1].recalled is None
    assert unsent[1].recalled is None


async def test_time_in_which_a_server_is_given_weights_makes_no_straggler() -> None:
    client = ServerClient("http://server", ModelLimits(vocab_size=64, context_length=64))
    server = Server(client=client, capacity=8)
    server.enter(ServerState.STALE, 0.0)
    server.enter(ServerState.HEALTHY, 7.0)
    volley, flight = under_way(oldest=1)
    flight.sent(Dispatch(server=server, version=1, breaks=0, stood_still_s=server.stood_still_s(10.0)), 10.0)
    volley.num_held, volley.durations_s = 8, [1.0, 1.0, 1.0]
    server.enter(ServerState.UPDATING, 11.0)
    flights = Flights(replace(make_config(), stragglers=StragglerPolicy.CUT))
    with flights.under_way(volley):
        flights.look(1, now=20.0)
        server.enter(ServerState.HEALTHY, 21.0)
        assert flight.duration_s(21.5) == 1.5
        flights.look(1, now=22.9)
        assert flight.recalled is None
        flights.look(1, now=23.1)
    assert flight.recalled is Recall.STRAGGLER


async def test_an_attempt_that_would_end_too_stale_is_aborted_and_its_prompt_comes_back(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        # One attempt that its server never begins, whatever it is told.
        rig.fakes[0].faults.order("/generate", Hang())
        await rig.create_run(make_config(allocator="grpo", batch_size=2, max_steps=8))
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        outcomes = view.ledger.stages[Stage.COMMIT].outcomes
        assert view.counters["recalled:too_stale"] == 1
        assert outcomes[Outcome.EXPIRED] == 8, "with the seven rollouts of its group that had come back"
        assert outcomes[Outcome.LOST] == 0
        histories = [(await rig.service.views.prompt("run", f"q{index}")) for index in range(40)]
        [expired] = [prompt for prompt in histories if any(event.what == "expired" for event in prompt.history)]
        assert expired.state == "ready"
        assert "too stale for any batch to come: of version 1" in expired.history[-1].reason
        assert not learner.refused


class TwoSpeeds(Coin):
    """Of the attempts on a prompt, the first six and any after the eighth have one token, the two between ten."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: Counter[tuple[int, ...]] = Counter()

    def answer(self, ask: Ask) -> Answer:
        number = self._asked[ask.input_ids]
        self._asked[ask.input_ids] += 1
        length = 10 if number in (6, 7) else 1
        return Answer(token_ids=tuple(range(5, 5 + length)), logprobs=(-0.5,) * length, text=" yes")


def one_group(policy: StragglerPolicy, *, min_group: int | None = None) -> RunConfig:
    """A run of a single group of eight."""
    config = make_config(allocator="grpo", batch_size=1, max_staleness=0, max_steps=1)
    return replace(config, stragglers=policy, straggler_factor=1.5, min_group=min_group)


async def six_of_eight_are_back(rig: Rig) -> None:
    """One decode step: the short answers are done."""
    fake = rig.fakes[0]
    await rig.until(lambda: len(fake.decoder.waiting) == 8)
    await fake.step()
    await rig.until(lambda: len(fake.in_flight) == 2)


async def the_rest_is_aborted(rig: Rig) -> None:
    fake = rig.fakes[0]
    await rig.until(lambda: sum(job.to_abort for job in fake.decoder.running) == 2)
    await fake.step()


async def test_a_cut_group_goes_without_its_stragglers_which_are_charged_what_they_generated(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, policy=TwoSpeeds()) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        rig.fakes[0].hold()
        await rig.create_run(one_group(StragglerPolicy.CUT))
        await learner.attach()
        await six_of_eight_are_back(rig)
        await the_rest_is_aborted(rig)
        await learner.train()
        view = await rig.ended()
        [group] = learner.received.values()
        assert len(group.rollouts) == 6
        assert view.ledger.stages[Stage.COMMIT].outcomes[Outcome.CANCELLED] == 2
        assert view.ledger.spent_tokens == 6 * 1 + 2 * 2
        assert (view.counters["recalled:straggler"], view.counters["incomplete:cut"]) == (2, 1)


async def test_a_replaced_straggler_is_a_new_attempt_with_a_reservation_of_its_own(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, policy=TwoSpeeds()) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        rig.fakes[0].hold()
        await rig.create_run(one_group(StragglerPolicy.REPLACE))
        await learner.attach()
        await six_of_eight_are_back(rig)
        await the_rest_is_aborted(rig)
        rig.fakes[0].release()
        await learner.train()
        view = await rig.ended()
        [group] = learner.received.values()
        assert len({rollout.rid for rollout in group.rollouts}) == 8
        commits = view.ledger.stages[Stage.COMMIT]
        assert (commits.attempts, commits.outcomes[Outcome.CANCELLED]) == (10, 2)
        assert view.counters["incomplete:refilled"] == 1


@pytest.mark.parametrize(
    ("policy", "min_group"), [(StragglerPolicy.WAIT, None), (StragglerPolicy.CUT, 7)], ids=["wait", "too few left"]
)
async def test_stragglers_are_waited_for_by_default_and_where_the_group_needs_them(
    redis: Redis, tmp_path: Path, policy: StragglerPolicy, min_group: int | None
) -> None:
    async with open_rig(redis, tmp_path, policy=TwoSpeeds()) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        rig.fakes[0].hold()
        await rig.create_run(one_group(policy, min_group=min_group))
        await learner.attach()
        await six_of_eight_are_back(rig)
        # Two looks, at least one of them after the bound.
        pipeline = (await rig.service.conductor.at_work("run")).parts.pipeline
        for _ in range(10):
            await pipeline.changed(pipeline.moment, timeout_s=0.02)
        assert not any(job.to_abort for job in rig.fakes[0].decoder.running)
        rig.fakes[0].release()
        await learner.train()
        view = await rig.ended()
        [group] = learner.received.values()
        assert len(group.rollouts) == 8
        assert "recalled:straggler" not in view.counters


async def test_a_run_can_be_cancelled_while_an_attempt_is_called_back(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, policy=TwoSpeeds()) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        rig.fakes[0].hold()
        config = replace(one_group(StragglerPolicy.CUT), incomplete=IncompletePolicy.ACCEPT)
        await rig.create_run(config)
        await learner.attach()
        await six_of_eight_are_back(rig)
        await rig.until(lambda: sum(job.to_abort for job in rig.fakes[0].decoder.running) == 2)
        await asyncio.gather(rig.service.orders.cancel("run"), rig.fakes[0].step())
        await rig.ended()
