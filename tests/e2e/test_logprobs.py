"""Learner and server compute the same policy: their log-probs agree after every push of new weights."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from torch import Tensor

from inference.client import ServerClient
from inference.protocol import GenerateRequest, ModelLimits, WeightLabel
from inference.supervisor import Supervisor
from learner.batch import MicroBatch, Rows, collate
from learner.forward import completion_logprobs
from learner.loss import Objective
from learner.model_files import CompanionFiles, load_model
from learner.trainer import Computation, Optimisation, Trainer
from learner.weight_publish import WeightPublisher
from scheduler.core.types import Group, Judgement, Rollout, Sampling, Stage
from tests.tiny_model import CONTEXT_LENGTH, VOCAB_SIZE

pytestmark = [pytest.mark.e2e, pytest.mark.sglang, pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="session")]

RUN = "logprobs"
PUSHES, TOLERANCE, TEMPERATURE = 10, 1e-4, 0.8
PROMPTS = ((7, 23, 14), (12, 14, 9, 9, 23, 5, 40, 41, 42), tuple(range(4, 64)))
"""Of unlike lengths, so that rows are padded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A learner, and a server that is given its weights."""

    trainer: Trainer
    publisher: WeightPublisher
    client: ServerClient

    async def push(self, version: int) -> None:
        """Publish the learner's weights and have the server load them."""
        weights = self.publisher.publish(self.trainer.model, step=version)
        await self.client.pause()
        await self.client.update_weights(weights.path, WeightLabel(run=RUN, version=version))
        await self.client.resume()

    async def sample(self, version: int) -> list[Group]:
        """Eight rewarded rollouts of each prompt, with the server's log-probs."""
        return list(await asyncio.gather(*(self._group(index, version) for index in range(len(PROMPTS)))))

    async def _group(self, index: int, version: int) -> Group:
        rollouts = await asyncio.gather(*(self._rollout(PROMPTS[index], version, seed) for seed in range(8)))
        return Group(
            group_id=f"{version}-{index}",
            prompt_id=str(index),
            prompt_ids=PROMPTS[index],
            rollouts=tuple(rollouts),
        )

    async def _rollout(self, prompt_ids: tuple[int, ...], version: int, seed: int) -> Rollout:
        request = GenerateRequest(
            rid=f"{version}-{len(prompt_ids)}-{seed}",
            run=RUN,
            version=version,
            input_ids=prompt_ids,
            # Completions of unlike lengths too.
            sampling=Sampling(max_new_tokens=4 + 3 * seed, temperature=TEMPERATURE, ignore_eos=True),
            sampling_seed=seed,
            timeout_s=60.0,
        )
        completion = await self.client.generate(request)
        assert {span.version for span in completion.spans} == {version}
        # By its place, not by its text: whatever the policy has become, rewards differ and a step moves it.
        correct = seed % 2 == 0
        return Rollout.judged(completion, Stage.COMMIT, Judgement(reward=float(correct), correct=correct))

    @torch.no_grad()
    def distance(self, batch: MicroBatch) -> float:
        """Largest difference between the learner's log-prob of a token and the one the server sampled it with."""
        ours_RT = completion_logprobs(self.trainer.model, batch, temperature=TEMPERATURE)
        return _largest(ours_RT - batch.behaviour_logprobs_RT, batch.completion_mask_RT)

    async def score_distance(self, groups: list[Group], batch: MicroBatch, version: int) -> float:
        """The same for the log-probs that the server computes of a given text, at temperature 1."""
        with torch.no_grad():
            ours_RT = completion_logprobs(self.trainer.model, batch, temperature=1.0)
        label = WeightLabel(run=RUN, version=version)
        texts = [(group.prompt_ids, rollout) for group in groups for rollout in group.rollouts]
        scores = await asyncio.gather(
            *(
                self.client.score(
                    (*prompt_ids, *rollout.token_ids), rid=f"{rollout.rid}-s", label=label, timeout_s=60.0
                )
                for prompt_ids, rollout in texts
            )
        )
        theirs_RT = torch.zeros_like(ours_RT)
        for row, (score, (_, rollout)) in enumerate(zip(scores, texts, strict=True)):
            num_tokens = len(rollout.token_ids)
            theirs_RT[row, :num_tokens] = torch.tensor(score.logprobs[-num_tokens:])
        return _largest(ours_RT - theirs_RT, batch.completion_mask_RT)


def _largest(difference_RT: Tensor, mask_RT: Tensor) -> float:
    return float(difference_RT.masked_fill(~mask_RT, 0.0).abs().max())


def _batch(groups: list[Group]) -> MicroBatch:
    """Every rollout, also those that would not teach."""
    rows = [Rows(prompt_ids=g.prompt_ids, rollouts=g.rollouts, advantages=(0.0,) * len(g.rollouts)) for g in groups]
    return collate(rows, torch.device("cpu"))


@pytest_asyncio.fixture(loop_scope="session")
async def pair(sglang: Supervisor, model: Path, tmp_path: Path) -> AsyncIterator[Pair]:
    """Both in float32; a learning rate that changes the policy visibly at each step, and leaves it one after ten."""
    pair = Pair(
        trainer=Trainer(
            load_model(model, torch.device("cpu")),
            objective=Objective(),
            optimisation=Optimisation(learning_rate=1e-3),
            computation=Computation(),
        ),
        publisher=WeightPublisher(
            tmp_path, CompanionFiles.read(model), incarnation="only", dtype=torch.float32, keep=2
        ),
        client=ServerClient(sglang.base_url, ModelLimits(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH)),
    )
    yield pair
    await pair.client.aclose()


async def test_log_probs_of_server_and_learner_agree_after_each_push(pair: Pair) -> None:
    sampled, scored, moved = [], [], []
    for version in range(1, PUSHES + 2):
        await pair.push(version)
        groups = await pair.sample(version)
        batch = _batch(groups)
        sampled.append(pair.distance(batch))
        scored.append(await pair.score_distance(groups, batch, version))
        pair.trainer.step(groups, temperature=TEMPERATURE)
        moved.append(pair.distance(batch))
    assert max(sampled) < TOLERANCE, f"sampled tokens: worst difference {max(sampled):.2e}, by push {sampled}"
    assert max(scored) < TOLERANCE, f"scored tokens: worst difference {max(scored):.2e}, by push {scored}"
    # Weights that had not arrived would have been noticed: each step moves the log-probs far more than that.
    assert min(moved) > 100 * TOLERANCE, f"the steps moved them by {moved}"
