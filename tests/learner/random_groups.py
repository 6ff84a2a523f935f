"""Groups with random tokens and log-probs, of uneven lengths, for tests that compute with them."""

import random

from scheduler.core.types import Group, Rollout
from tests.factories import make_group, make_rollout
from tests.tiny_model import VOCAB_SIZE


def random_group(
    *,
    seed: int = 0,
    rewards: tuple[float, ...] = (1.0, 0.0, 0.0, 1.0),
    prompt_tokens: int | None = None,
    max_new_tokens: int = 6,
    group_id: str | None = None,
    version: int = 1,
    num_completions: int | None = None,
) -> Group:
    """A group whose prompt and completions are drawn from `seed`.

    With `num_completions` its rollouts take turns at so many of them, each still with log-probs of its own.
    """
    rng = random.Random(seed)
    name = group_id if group_id is not None else f"group-{seed}"

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4, VOCAB_SIZE) for _ in range(count))

    prompt_ids = tokens(prompt_tokens if prompt_tokens is not None else rng.randint(3, 9))
    rollouts: list[Rollout] = []
    for index, reward in enumerate(rewards):
        if num_completions is not None and index >= num_completions:
            token_ids = tuple(rollouts[index % num_completions].token_ids)
        else:
            token_ids = tokens(rng.randint(1, max_new_tokens))
        logprobs = tuple(rng.uniform(-8.0, -0.5) for _ in token_ids)
        rollouts.append(
            make_rollout(reward=reward, rid=f"{name}-{index}", token_ids=token_ids, logprobs=logprobs, version=version)
        )
    group = make_group(group_id=name, prompt_id=f"prompt-{seed}", prompt_ids=prompt_ids, version=version)
    return Group(
        group_id=group.group_id,
        prompt_id=group.prompt_id,
        prompt_ids=group.prompt_ids,
        rollouts=tuple(rollouts),
        selection_probability=group.selection_probability,
    )


def random_batch(*, seed: int = 0, num_groups: int = 4) -> list[Group]:
    """Groups of different sizes and lengths; all of them mixed."""
    sizes = (2, 5, 3, 4)
    return [
        random_group(seed=seed * 100 + index, rewards=(1.0,) + (0.0,) * (sizes[index % 4] - 1))
        for index in range(num_groups)
    ]
