"""A session trains each group once, reports only what is on disk, and can be taken over by its successor."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learner.assembly import Start, assemble
from learner.broadcast import Broadcaster
from learner.checkpoint import latest
from learner.fault import Fault
from learner.model_files import load_model
from learner.orders import Lead, Order, Wait
from learner.ranks import ALONE
from learner.sealed_directory import read_manifest, verify
from learner.session import Ending, Session
from learner.settings import FloatFormat, Settings
from learner.work_dir import WorkDir
from scheduler.core.broadcast import BroadcastBackend
from scheduler.core.errors import (
    Conflict,
    InvalidCheckpoint,
    LearnerError,
    PilotCommitError,
    ServerUnavailable,
    StaleIncarnation,
)
from scheduler.core.types import Group
from scheduler.frames import BatchFrame, GroupFrame
from tests.factories import make_group
from tests.learner.random_groups import random_group
from tests.learner.scripted_link import ScriptedLink
from tests.learner.scripted_orders import ScriptedOrders

RUN = "run-1"


@pytest.fixture
def begin(tmp_path: Path, tiny_checkpoint: Path) -> Callable[..., tuple[Session, Start]]:
    """Each call is a new incarnation in the same work directory."""
    incarnations = iter(f"incarnation-{number}" for number in range(10))

    def start(link: ScriptedLink, *, checkpoint_every: int = 100, run_id: str = RUN) -> tuple[Session, Start]:
        settings = Settings(
            run_id=run_id,
            model_path=tiny_checkpoint,
            work_dir=tmp_path,
            learning_rate=1e-3,
            autocast=FloatFormat.FLOAT32,
            publish_format=FloatFormat.FLOAT32,
            checkpoint_every=checkpoint_every,
        )
        incarnation = next(incarnations)
        work_dir = WorkDir(root=tmp_path)
        with work_dir.held():
            begun = assemble(settings, work_dir, incarnation=incarnation, fault=Fault())
        return Session(link, begun.workshop, begun.progress, incarnation=incarnation), begun

    return start


Begin = Callable[..., tuple[Session, Start]]


def batches(count: int, *, version: int = 1) -> dict[int, list[Group]]:
    """Two mixed groups a step; the same for every call."""
    return {
        step: [random_group(seed=10 * step + index, version=version) for index in range(2)]
        for step in range(1, count + 1)
    }


def ids(groups: list[Group]) -> tuple[str, ...]:
    return tuple(group.group_id for group in groups)


def raises_in_group(error: type[PilotCommitError], match: str | None = None) -> AbstractContextManager[object]:
    return pytest.RaisesGroup(pytest.RaisesExc(error, match=match))


def weights(start: Start) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in start.workshop.trainer.model.state_dict().items()}


async def test_a_run_is_trained_to_its_final_frame_and_saved(begin: Begin, tmp_path: Path) -> None:
    link = ScriptedLink(batches(3))
    session, _ = begin(link)

    assert await session.run() is Ending.FINISHED

    assert link.attached == [(0, {})]
    assert [applied.step for applied in link.applied_steps] == [1, 2, 3]
    assert [applied.group_ids for applied in link.applied_steps] == [ids(batches(3)[step]) for step in (1, 2, 3)]
    assert link.checkpointed_steps == [3]
    saved = latest(tmp_path / "checkpoints")
    assert saved is not None
    assert saved.progress.trained == {step: ids(batches(3)[step]) for step in (1, 2, 3)}


async def test_every_announced_weight_version_is_complete_and_differs(begin: Begin) -> None:
    link = ScriptedLink(batches(2))
    seen: list[tuple[str, str]] = []
    session, start = begin(link)
    link.on_applied = lambda step: seen.append(
        (link.applied_steps[-1].path, read_manifest(Path(link.applied_steps[-1].path)).digest)
    )

    await session.run()

    assert [digest for _, digest in seen] == [applied.manifest_digest for applied in link.applied_steps]
    assert len({link.published[0][2], *(digest for _, digest in seen)}) == 3
    verify(Path(seen[-1][0]))
    published = load_model(Path(seen[-1][0]), torch.device("cpu")).state_dict()
    assert all(torch.equal(published[name], tensor) for name, tensor in weights(start).items())


async def test_frames_that_come_again_are_trained_once(begin: Begin) -> None:
    link = ScriptedLink(batches(2), repeats=3)
    session, _ = begin(link)
    await session.run()
    assert [applied.group_ids for applied in link.applied_steps] == [ids(batches(2)[1]), ids(batches(2)[2])]


async def test_a_group_too_stale_is_refused_and_reported_not_trained(begin: Begin) -> None:
    old, young = random_group(seed=1, version=1), random_group(seed=2, version=7)
    link = ScriptedLink({1: [old, young]}, max_staleness=2, version=8)
    session, start = begin(link)

    await session.run()

    (applied,) = link.applied_steps
    assert applied.refused == {old.group_id: 8}
    assert applied.group_ids == (young.group_id,)
    assert applied.stats["num_mixed_groups"] == 1
    text = start.workshop.metrics.registry.get_sample_value
    assert text("pilotcommit_learner_groups_total", {"run": RUN, "fate": "refused"}) == 1


async def test_a_step_without_a_mixed_group_announces_the_same_weights_again(begin: Begin) -> None:
    link = ScriptedLink({1: [make_group(rewards=(1.0, 1.0))]})
    session, _ = begin(link)
    await session.run()
    (applied,) = link.applied_steps
    assert (applied.path, applied.manifest_digest) == link.published[0][1:]
    assert applied.group_ids == ("group",)


async def test_checkpoints_are_written_and_reported_at_their_interval(begin: Begin) -> None:
    link = ScriptedLink(batches(5))
    session, _ = begin(link, checkpoint_every=2)
    await session.run()
    assert link.checkpointed_steps == [2, 4, 5]


@pytest.mark.parametrize("lost_at", ["applied", "checkpointed"])
async def test_a_successor_equals_an_uninterrupted_learner_bit_for_bit(
    begin: Begin, lost_at: str, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    script = batches(4)
    link = ScriptedLink(script)
    lost, _ = begin(link, checkpoint_every=2)
    # The learner dies in step 3, or after its checkpoint of step 2 was written but before it was reported.
    link.on_applied = lambda step: link.failing.update(
        {lost_at: ServerUnavailable("the scheduler is gone")} if step == 2 or lost_at == "checkpointed" else {}
    )
    with raises_in_group(ServerUnavailable):
        await lost.run()

    link = ScriptedLink(script)
    successor, resumed = begin(link, checkpoint_every=2)
    assert await successor.run() is Ending.FINISHED

    assert link.attached == [(2, {1: ids(script[1]), 2: ids(script[2])})]
    assert [applied.step for applied in link.applied_steps] == [3, 4]
    straight_link = ScriptedLink(script)
    settings = Settings(
        run_id=RUN,
        model_path=tiny_checkpoint,
        work_dir=tmp_path / "straight",
        learning_rate=1e-3,
        autocast=FloatFormat.FLOAT32,
        publish_format=FloatFormat.FLOAT32,
    )
    work_dir = WorkDir(root=settings.work_dir)
    with work_dir.held():
        straight = assemble(settings, work_dir, incarnation="straight", fault=Fault())
    await Session(straight_link, straight.workshop, straight.progress, incarnation="straight").run()
    assert weights(straight).keys() == weights(resumed).keys()
    assert all(torch.equal(weights(straight)[name], tensor) for name, tensor in weights(resumed).items())
    assert straight_link.applied_steps[-1].manifest_digest == link.applied_steps[-1].manifest_digest


async def test_groups_acknowledged_by_a_checkpoint_are_not_listed_again(begin: Begin, tmp_path: Path) -> None:
    session, _ = begin(ScriptedLink(batches(3)), checkpoint_every=2)
    await session.run()
    saved = latest(tmp_path / "checkpoints")
    assert saved is not None
    assert saved.progress.trained == {3: ids(batches(3)[3])}


async def test_a_stop_finishes_the_step_saves_and_reports(begin: Begin, tmp_path: Path) -> None:
    link = ScriptedLink(batches(9))
    session, _ = begin(link)
    link.on_applied = lambda step: session.request_stop() if step == 2 else None

    assert await session.run() is Ending.STOPPED

    assert [applied.step for applied in link.applied_steps] == [1, 2]
    assert link.checkpointed_steps == [2]
    saved = latest(tmp_path / "checkpoints")
    assert saved is not None
    assert saved.progress.step == 2


async def test_a_stop_is_heard_while_the_scheduler_does_not_answer(begin: Begin) -> None:
    class AwayLink(ScriptedLink):
        async def attach(self, **_: object) -> object:  # type: ignore[override]
            self.attached.append((0, {}))
            self.news.set()
            return await asyncio.Event().wait()

    link = AwayLink({})
    session, _ = begin(link)
    running = asyncio.create_task(session.run())
    await link.news.wait()

    session.request_stop()

    assert await running is Ending.STOPPED


async def test_a_session_that_waits_for_groups_still_speaks_to_the_other_ranks(begin: Begin) -> None:
    class CountedLead(Lead):
        waits = 0

        @contextmanager
        def giving(self, order: Order) -> Iterator[None]:
            self.waits += isinstance(order, Wait)
            if self.waits == 3:
                loop.call_soon_threadsafe(session.request_stop)
            with super().giving(order):
                yield

    loop = asyncio.get_running_loop()
    _, start = begin(ScriptedLink({}))
    workshop = replace(start.workshop, lead=CountedLead(ALONE), beat_s=0.0)
    session = Session(ScriptedLink({}, ends=False), workshop, start.progress, incarnation="waits")
    assert await session.run() is Ending.STOPPED


@pytest.mark.parametrize("call", ["attach", "stream", "applied", "checkpointed"])
async def test_a_learner_that_was_replaced_stops_wherever_it_hears_of_it(begin: Begin, call: str) -> None:
    link = ScriptedLink(batches(2), failing={call: StaleIncarnation("another learner is attached")})
    session, _ = begin(link)
    with raises_in_group(StaleIncarnation, "another learner"):
        await session.run()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_run_cancelled_during_a_step_still_gets_what_was_applied_saved(begin: Begin, answers: bool) -> None:
    link = ScriptedLink(batches(3), cancelled_after=1, answers_after_the_end=answers)
    _, start = begin(link)
    patient = replace(start.workshop, last_word_s=30.0 if answers else 0.0)
    session = Session(link, patient, start.progress, incarnation="patient")
    assert await session.run() is Ending.FINISHED
    assert [applied.step for applied in link.applied_steps] == link.checkpointed_steps == [1]


async def test_a_final_frame_that_overtakes_the_answer_to_the_last_report_does_not_leave_its_step_unsaved(
    begin: Begin,
) -> None:
    class SlowLink(ScriptedLink):
        async def applied(self, **report: object) -> int:
            version = await super().applied(**report)  # type: ignore[arg-type]
            # The stream goes on meanwhile, which after the last step is its end.
            for _ in range(50):
                await asyncio.sleep(0)
            return version

    link = SlowLink(batches(2))
    session, _ = begin(link)
    assert await session.run() is Ending.FINISHED
    assert link.checkpointed_steps == [2]


async def test_a_report_refused_in_a_run_that_goes_on_stops_the_learner_unsaved(begin: Begin, tmp_path: Path) -> None:
    link = ScriptedLink(batches(1), failing={"applied": Conflict("not the next step")})
    _, start = begin(link)
    hurried = replace(start.workshop, last_word_s=0.0)
    session = Session(link, hurried, start.progress, incarnation="hurried")
    with raises_in_group(Conflict, "not the next step"):
        await session.run()
    assert latest(tmp_path / "checkpoints") is None


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([BatchFrame(step=2, group_ids=(), policy_version=1)], "a step is missing"),
        ([BatchFrame(step=1, group_ids=("ghost",), policy_version=1)], "not delivered: ghost"),
    ],
)
async def test_a_stream_that_makes_no_sense_stops_the_learner(
    begin: Begin, frames: list[GroupFrame | BatchFrame], reason: str
) -> None:
    class OddLink(ScriptedLink):
        def _frames(self, step: int) -> list[GroupFrame | BatchFrame]:  # type: ignore[override]
            return frames

    session, _ = begin(OddLink(batches(1)))
    with raises_in_group(LearnerError, reason):
        await session.run()


async def test_a_group_trained_before_is_never_trained_again(begin: Begin) -> None:
    (first, second) = batches(1)[1]
    session, _ = begin(ScriptedLink({1: [first], 2: [first, second]}))
    with raises_in_group(LearnerError, f"trained already: {first.group_id}"):
        await session.run()


async def test_a_work_directory_of_another_run_is_refused(begin: Begin) -> None:
    session, _ = begin(ScriptedLink(batches(1)))
    await session.run()
    with pytest.raises(LearnerError, match="belongs to run run-1, not run-2"):
        begin(ScriptedLink({}), run_id="run-2")


async def test_weights_that_a_server_still_loads_survive(begin: Begin, tmp_path: Path) -> None:
    link = ScriptedLink(batches(5))
    session, _ = begin(link)
    link.on_applied = lambda step: link.in_use.update({link.published[0][1]})
    await session.run()
    left = {path.name for path in (tmp_path / "weights").glob("step-*")}
    assert left == {f"step-{step:08d}-incarnation-0" for step in (0, 4, 5)}


async def test_diverged_weights_are_never_announced(begin: Begin) -> None:
    link = ScriptedLink({})
    session, start = begin(link)
    with torch.no_grad():
        start.workshop.trainer.model.get_parameter("model.norm.weight")[0] = float("nan")
    with raises_in_group(InvalidCheckpoint, "not finite"):
        await session.run()
    assert link.published == []


class OfferedFirst(ScriptedLink):
    """Keeps what had been offered for a broadcast when the first weights were announced."""

    def watch(self, orders: ScriptedOrders) -> None:
        self.orders, self.offered = orders, -1

    async def publish(self, *, incarnation: str, step: int, path: str, manifest_digest: str) -> int:
        self.offered = len(self.orders.offers)
        return await super().publish(incarnation=incarnation, step=step, path=path, manifest_digest=manifest_digest)


async def test_a_learner_offers_a_broadcast_before_its_first_weights_and_trains_though_it_fails(
    begin: Begin,
) -> None:
    link, orders = OfferedFirst(batches(2)), ScriptedOrders()
    link.watch(orders)
    _, start = begin(link)
    orders.orders.put_nowait(ServerUnavailable("no scheduler"))
    broadcaster = Broadcaster(orders, incarnation="b", backend=BroadcastBackend.GLOO, address="127.0.0.1", retry_s=0.0)
    session = Session(link, start.workshop, start.progress, incarnation="b", broadcaster=broadcaster)
    assert await session.run() is Ending.FINISHED
    assert link.offered == 1
    assert [applied.step for applied in link.applied_steps] == [1, 2]
