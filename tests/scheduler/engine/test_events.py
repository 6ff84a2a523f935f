"""What a run logs, in good and in bad times: each change of state is a documented event with its ids, and no secret."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from redis.asyncio import Redis
from structlog.typing import EventDict

from inference.fake import Answer, Ask
from inference.fake.faults import FailWith
from scheduler.core.errors import RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards.pool import Answer as RewardAnswer
from scheduler.rewards.spec import RewardJob, RewardSpec
from tests.events_document import undocumented
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES, Coin, InstantRewards, make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

PROMPT, ANSWER, REPLY = "the-question-4711", "the-answer-0815", "the-reply-2323"


class TalkativeCoin(Coin):
    """Says the answer when it is right, and something else that can be recognised when it is not."""

    def answer(self, ask: Ask) -> Answer:
        answer = super().answer(ask)
        return replace(answer, text=ANSWER if answer.text == " yes" else REPLY)


class QuotingRewards(InstantRewards):
    """Raises now and then, and quotes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.num_judged = 0

    async def judge(self, spec: RewardSpec, jobs: Sequence[RewardJob]) -> list[RewardAnswer]:
        judged = await super().judge(spec, jobs)
        return [self._or_failed(job, answer) for job, answer in zip(jobs, judged, strict=True)]

    def _or_failed(self, job: RewardJob, answer: RewardAnswer) -> RewardAnswer:
        self.num_judged += 1
        if self.num_judged % 7 or not isinstance(answer, Judgement):
            return answer
        return RewardFailed(f"ValueError: {job.text} against {job.answer}")


async def _live_through(rig: Rig, folder: Path) -> None:
    """Losses, a failing reward, a pause, an evaluation, deaths of scheduler and learner, and a cancellation."""
    rates = [SOMETIMES] * 20 + [ALWAYS, NEVER] * 4
    prompts = [replace(prompt, text=PROMPT, answer=ANSWER) for prompt in make_prompts(rates)]
    await rig.create_pool("mixed", prompts)
    await rig.create_run(make_config(pool="mixed", parameters={"defer_for": 2, "evict_for": 2}))
    learner = Learner(at=lambda: rig.service, folder=folder)
    rig.fakes[0].faults.order("/generate", FailWith(status=500), count=5)
    rig.fakes[0].faults.order("/generate", FailWith(status=400), count=1)
    await learner.attach()
    await learner.train(steps=2)
    await rig.service.orders.evaluate("run", pool="sums", num_rollouts=1, version=None)
    await rig.service.orders.pause("run")
    await rig.service.orders.resume("run")
    await learner.train(steps=1)
    rig.fakes[0].hold()
    await rig.until(lambda: len(rig.fakes[0].in_flight) >= 4)
    await rig.succeed("run")
    rig.fakes[0].release()
    second = learner.restarted("learner-2")
    await second.attach()
    await second.train(steps=2)
    await rig.service.orders.cancel("run")
    await rig.ended()


CHANGES = {
    *("run_created", "run_state", "run_ending", "run_taken_up", "lease_acquired"),
    *("prompts_taken_in", "prompts_returned", "claimed", "launched", "landed", "survived", "committing"),
    *("settled", "published", "batch_formed", "applied", "checkpointed", "learner_attached", "visit_resumed"),
    *("weights_announced", "weights_pushing", "weights_live", "weights_superseded", "server"),
    *("attempt_lost", "attempt_refused", "attempt_failed", "evaluation_queued", "evaluation_running", "evaluated"),
}


async def _logged(redis: Redis, folder: Path) -> list[EventDict]:
    with structlog.testing.capture_logs() as logged:
        async with open_rig(redis, folder, policy=TalkativeCoin(), rewards=QuotingRewards()) as rig:
            await _live_through(rig, folder)
    return list(logged)


async def test_every_change_of_state_is_a_documented_event_with_its_ids(redis: Redis, tmp_path: Path) -> None:
    logged = await _logged(redis, tmp_path)
    assert undocumented(logged) == []
    assert CHANGES - {str(line["event"]) for line in logged} == set()


async def test_no_line_has_the_text_of_a_prompt_a_completion_or_an_answer(redis: Redis, tmp_path: Path) -> None:
    logged = await _logged(redis, tmp_path)
    assert "attempt_failed" in {line["event"] for line in logged}, "a reward quoted what it was given"
    told = [str(line) for line in logged]
    assert [line for line in told if any(secret in line for secret in (PROMPT, ANSWER, REPLY))] == []


async def test_a_prompt_is_left_where_its_last_line_says(redis: Redis, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        async with open_rig(redis, tmp_path) as rig:
            await rig.create_run(make_config(max_steps=3))
            learner = Learner(at=lambda: rig.service, folder=tmp_path)
            await learner.attach()
            await learner.train()
            await rig.ended()
            view = await rig.view()
            settled = [line for line in logged if line["event"] in ("settled", "published")]
            counters = view.counters
            assert len(settled) == sum(count for name, count in counters.items() if name.startswith("verdict:"))
            assert len([line for line in logged if line["event"] == "claimed"]) == counters["considered"]
