"""From a source to a run's ledger: prompts added by the command, judged by rewards that others wrote."""

import asyncio
import json
import os
import random
import re
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from transformers import AutoTokenizer

from inference.fake.policy import Answer, Ask, ScriptedPolicy
from scheduler.core.errors import InvalidInput
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import RunState
from scheduler.core.reachable import LOCAL, Reachable
from scheduler.core.types import Group, Stage
from scheduler.rewards.batching import Terms
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.reward_servers import RewardServers
from scheduler.service import RunView, Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig
from tests.scheduler.rewards.judges import Asked, RewardServerApp, judged, serving

DOCUMENT = Path(__file__).parents[3] / "docs" / "rewards.md"
PILOTS = 4
KEY = "a-key-of-the-judge"
Say = Callable[[str, random.Random], str]
"""What the model answers to a prompt's text."""


class Voice:
    """The model behind the fake server: `say` of whatever text it is asked."""

    def __init__(self) -> None:
        self.say: Say = lambda _text, _rng: "nothing"
        self.read: Callable[[tuple[int, ...]], str] = str

    def answer(self, ask: Ask) -> Answer:
        """Three tokens, whatever the text."""
        rng = random.Random(repr((ask.seed, ask.input_ids)))
        return Answer(token_ids=(5, 6, 7), logprobs=(-0.5,) * 3, text=self.say(self.read(ask.input_ids), rng))


@pytest.fixture
def voice(chat_folder: Path) -> Voice:
    made = Voice()
    tokenizer = AutoTokenizer.from_pretrained(chat_folder)
    made.read = lambda ids: str(tokenizer.decode(list(ids)))
    return made


@pytest.fixture
def judge_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path, voice: Voice, judge_port: int) -> AsyncIterator[Rig]:
    """A scheduler with real reward workers, which may ask reward servers of this machine."""
    servers = RewardServers(
        listed=(f"http://127.0.0.1:{judge_port}/judge",),
        key=KEY,
        reachable=Reachable.of(LOCAL),
        terms=Terms(wait_s=0.01, tries=2),
    )
    rewards = RewardPool(2, servers=servers)
    await rewards.start()
    async with open_rig(redis, tmp_path, rewards=rewards, policy=ScriptedPolicy(script=voice.answer)) as opened:
        yield opened
    await rewards.close()


@pytest.fixture
def service(rig: Rig) -> Service:
    """What the command talks to."""
    return rig.service


async def trained(rig: Rig, pool: str, *, steps: int) -> tuple[RunView, list[Group]]:
    """A run over the pool, and what a learner got of it."""
    await rig.create_run(make_config(pool=pool, pilots=PILOTS, batch_size=2, max_steps=steps))
    learner = Learner(at=lambda: rig.service, folder=rig.folder)
    await learner.attach()
    await learner.train()
    view = await rig.ended()
    assert (view.record.state, view.record.step) == (RunState.FINISHED, steps)
    return view, list(learner.received.values())


async def test_a_task_of_reasoning_gym_is_imported_seen_and_judged_by_its_scorer(
    pilotcommit: Command, rig: Rig, voice: Voice, chat_folder: Path
) -> None:
    def say(text: str, rng: random.Random) -> str:
        total = sum(int(number.replace(" ", "")) for number in re.findall(r"[+-]? ?\d+", text))
        return (
            f"<answer>{total}</answer>" if rng.random() < 0.5 else rng.choice(["<answer>no</answer>", str(total + 1)])
        )

    voice.say = say
    source = ("reasoning-gym:chain_sum?size=12&seed=3&min_digits=1&max_digits=1", "--user", "question")
    created = await pilotcommit(
        "pool", "create", "chains", "--tokenizer", str(chat_folder), "--reward", "reasoning_gym"
    )
    assert created.code == 0, created.err
    looked = await pilotcommit("pool", "add", "chains", *source, "--preview", "2", "--json")
    seen = json.loads(looked.out)["prompts"]
    assert (looked.code, len(seen)) == (0, 2)
    assert "arithmetic" in seen[0]["text"]
    assert seen[0]["text"].endswith("assistant:")
    entry = json.loads(seen[0]["metadata"]["reasoning_gym"])["entry"]
    assert (entry["answer"], entry["question"] in seen[0]["text"]) == (seen[0]["answer"], True)

    added = json.loads((await pilotcommit("pool", "add", "chains", *source, "--json")).out)
    assert (added["added"] + added["unchanged"], added["refused"]) == (12, [])
    again = json.loads((await pilotcommit("pool", "add", "chains", *source, "--json")).out)
    assert (again["added"], again["unchanged"]) == (0, 12), "the same seed makes the same prompts"

    view, groups = await trained(rig, "chains", steps=3)
    rewards = Counter(rollout.reward for group in groups for rollout in group.rollouts)
    assert rewards[1.0] > 0
    assert all(
        rollout.correct == ("<answer>no" not in rollout.text and "<answer>" in rollout.text)
        for group in groups
        for rollout in group.rollouts
    )
    assert view.ledger.stages[Stage.PILOT].outcomes.get(Outcome.FAILED, 0) == 0


async def test_prompts_of_other_sources_are_refused_by_a_reward_that_cannot_judge_them(
    pilotcommit: Command, chat_folder: Path, tmp_path: Path
) -> None:
    await pilotcommit("pool", "create", "chains", "--tokenizer", str(chat_folder), "--reward", "reasoning_gym")
    (tmp_path / "sums.ndjson").write_text('{"text": "1+1=", "answer": "2"}\n')
    said = await pilotcommit("pool", "add", "chains", str(tmp_path / "sums.ndjson"), "--json")
    assert (said.code, json.loads(said.out)["refused"][0]["line"]) == (1, 1)
    missing = await pilotcommit("pool", "add", "chains", "reasoning-gym:chain_sums", "--user", "question")
    assert missing.code == 1
    assert "did you mean chain_sum?" in " ".join(missing.err.split())


async def test_mathematics_is_judged_and_a_verification_that_hangs_is_failed_and_never_a_zero(
    pilotcommit: Command, rig: Rig, voice: Voice, chat_folder: Path, tmp_path: Path
) -> None:
    def say(text: str, rng: random.Random) -> str:
        if "hang" in text and "hung" not in marks:
            marks.add("hung")
            return "9**9**9**9"
        return rng.choice([r"So \boxed{\frac{2}{4}}.", "0.5", r"\boxed{2}", "no idea"])

    marks = set[str]()
    voice.say = say
    halves = [{"q": f"half of {number} / {number}", "a": "1/2"} for number in range(1, 7)]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in [*halves, {"q": "hang", "a": r"\frac12"}]))
    await pilotcommit("pool", "create", "halves", "--tokenizer", str(chat_folder), "--reward", "math")
    added = await pilotcommit("pool", "add", "halves", str(rows), "--text", "q", "--answer", "a")
    assert added.code == 0, added.out
    view, groups = await trained(rig, "halves", steps=4)
    right = {r"So \boxed{\frac{2}{4}}.", "0.5"}
    assert {rollout.correct == (rollout.text in right) for group in groups for rollout in group.rollouts} == {True}
    assert "9**9**9**9" not in {rollout.text for group in groups for rollout in group.rollouts}
    failed = sum(stage.outcomes.get(Outcome.FAILED, 0) for stage in view.ledger.stages.values())
    assert failed == len(marks)


@asynccontextmanager
async def example_server(port: int, key: str) -> AsyncIterator[None]:
    """The server of the document, as a process."""
    (source,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(source.strip().splitlines()) <= 30
    environment = {**os.environ, "JUDGE_KEY": key, "JUDGE_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30):
            # Another process: there is no event for it.
            while not await _listens(port):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield
    finally:
        process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_the_documented_reward_server_judges_a_run(
    pilotcommit: Command, rig: Rig, voice: Voice, chat_folder: Path, tmp_path: Path, judge_port: int
) -> None:
    voice.say = lambda _text, rng: rng.choice(["7", " 7\n", "8"])
    (tmp_path / "sums.ndjson").write_text(
        "".join(json.dumps({"text": f"{number} + {7 - number} =", "answer": "7"}) + "\n" for number in range(8))
    )
    create = ("pool", "create", "judged", "--tokenizer", str(chat_folder), "--reward")
    url = f"http://127.0.0.1:{judge_port}/judge"
    down = await pilotcommit(*create, url)
    assert down.code == 1
    assert "cannot reach the server" in " ".join(down.err.split())
    async with example_server(judge_port, "another"):
        refused = await pilotcommit(*create, url)
        assert (refused.code, KEY in refused.err) == (1, False)
        assert "it answered 401" in " ".join(refused.err.split())
    async with example_server(judge_port, KEY):
        made = await pilotcommit(*create, url)
        assert made.code == 0, made.err
        assert (await pilotcommit("pool", "add", "judged", str(tmp_path / "sums.ndjson"))).code == 0
        _, groups = await trained(rig, "judged", steps=3)
    rewards = {
        (rollout.text.strip(), rollout.reward, rollout.correct) for group in groups for rollout in group.rollouts
    }
    assert rewards == {("7", 1.0, True), ("8", -0.1, False)}
    # It is gone by now: another run is told before it begins.
    with pytest.raises(InvalidInput, match="cannot reach the server") as refusal:
        await rig.create_run(make_config(pool="judged"), "second")
    assert refusal.value.field == "pool"


async def test_what_a_reward_server_spoils_is_failed_in_the_ledger_and_trained_on_nowhere(
    pilotcommit: Command, rig: Rig, voice: Voice, chat_folder: Path, tmp_path: Path
) -> None:
    spoilt: Counter[str] = Counter()

    async def spoil(number: int, completions: list[Asked]) -> tuple[int, bytes] | None:
        if completions and number % 5 == 0:
            return 503, b"busy"
        kinds = {each["metadata"].get("kind") for each in completions}
        if "raises" in kinds:
            spoilt["raised"] += len(completions) == 1
            return 500, b"Internal Server Error"
        entries = judged(completions)
        for entry, each in zip(entries, completions, strict=True):
            if each["metadata"].get("kind") == "nan":
                spoilt["nan"] += 1
                entry["reward"] = float("nan")
        return 200, json.dumps({"rewards": entries}).encode()

    voice.say = lambda _text, rng: rng.choice(["7", "8"])
    kinds = [*["fine"] * 3, "nan", "raises"]
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps({"q": f"{n} + {7 - n} =", "a": "7", "id": f"{kind}-{n}", "kind": kind}) + "\n"
            for n, kind in enumerate(kinds)
        )
    )
    async with serving(RewardServerApp(spoil=spoil)) as url:
        await pilotcommit("pool", "create", "odd", "--tokenizer", str(chat_folder), "--reward", url)
        options = ("--text", "q", "--answer", "a", "--id", "id", "--metadata", "kind")
        assert (await pilotcommit("pool", "add", "odd", str(tmp_path / "rows.jsonl"), *options)).code == 0
        view, groups = await trained(rig, "odd", steps=4)
    assert {group.prompt_id.partition("-")[0] for group in groups} == {"fine"}
    assert {rollout.reward for group in groups for rollout in group.rollouts} == {0.0, 1.0}
    failed = sum(stage.outcomes.get(Outcome.FAILED, 0) for stage in view.ledger.stages.values())
    assert spoilt["nan"] > 0
    assert spoilt["raised"] > 0
    assert failed >= spoilt["nan"]
