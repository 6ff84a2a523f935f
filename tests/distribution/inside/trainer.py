"""A trainer of a user's, over the installed client: `trainer.py URL MODEL FOLDER`. Prints a line for each step.

Creates a pool and a run, takes its groups, and gives new weights back, which a real one would have trained. It is also
type-checked with what the installation says of its types.
"""

import asyncio
import shutil
import sys
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

from scheduler.client import Client, Json
from scheduler.core.types import Group
from scheduler.frames import BatchFrame, FinalFrame, GroupFrame
from scheduler.learner_link import LearnerLink

_ME = "trainer-of-mine"


def submitted(client: Client, model: Path) -> str:
    """A small run over a pool of its own; returns its id."""
    client.create_pool("sums", tokenizer=str(model), reward="exact")
    client.add_prompts("sums", ({"id": f"p{number}", "text": f"{number} =", "answer": "7"} for number in range(40)))
    run: Json = client.create_run(
        {
            "pool": "sums",
            "allocator": "pilot_commit",
            "pilots": 4,
            "commits": 4,
            "batch_size": 4,
            "sampling": {"max_new_tokens": 4},
            "budget": {"rollouts": 200},
        }
    )
    return str(run["run_id"])


def weights(model: Path, folder: Path, step: int) -> Path:
    """The model with every number a little larger: a folder of its own for each step."""
    out = folder / f"step-{step}"
    shutil.copytree(model, out)
    for file in out.glob("*.safetensors"):
        tensors = {name: tensor + numpy.float32(step) * 1e-3 for name, tensor in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    return out


async def train(url: str, run_id: str, model: Path, folder: Path) -> int:
    """Train until the run's stream ends; returns how many groups were taken."""
    groups: dict[str, Group] = {}
    async with LearnerLink(url, run_id) as link:
        await link.attach(incarnation=_ME, step=0, trained={})
        await link.publish(incarnation=_ME, step=0, path=str(weights(model, folder, 0)), manifest_digest="0")
        async for frame in link.stream(incarnation=_ME):
            match frame:
                case GroupFrame():
                    groups[frame.group.group_id] = frame.group
                case BatchFrame():
                    rewards = [rollout.reward for name in frame.group_ids for rollout in groups[name].rollouts]
                    await link.applied(
                        incarnation=_ME,
                        step=frame.step,
                        group_ids=frame.group_ids,
                        refused={},
                        path=str(weights(model, folder, frame.step)),
                        manifest_digest=str(frame.step),
                        stats={},
                    )
                    await link.checkpointed(incarnation=_ME, step=frame.step)
                    sys.stdout.write(f"step {frame.step}: {len(rewards)} rollouts, mean {numpy.mean(rewards):.2f}\n")
                case FinalFrame():
                    break
    return len(groups)


def main(url: str, model: Path, folder: Path) -> None:
    """Submit, train, and print how the run ended."""
    with Client(url) as client:
        run_id = submitted(client, model)
        taken = asyncio.run(train(url, run_id, model, folder))
        sys.stdout.write(f"{taken} groups, {client.run(run_id)['state']}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
