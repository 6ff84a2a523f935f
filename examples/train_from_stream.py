"""A trainer of your own: groups from a scheduler, REINFORCE with a group baseline in plain torch, weights back.

    python examples/train_from_stream.py RUN MODEL_FOLDER WORK_FOLDER

MODEL_FOLDER is the policy at step 0, a checkpoint of transformers; the servers read the weights from WORK_FOLDER.
Started again, it goes on after its last checkpoint, with a new optimiser.
"""

import os
import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from scheduler.core.types import Group
from scheduler.taking import Progress
from scheduler.training_client import TrainingClient

URL = os.environ.get("PILOTCOMMIT_URL", "http://127.0.0.1:8400")
TOKEN = os.environ.get("PILOTCOMMIT_TOKEN")


def group_loss(model: PreTrainedModel, group: Group, temperature: float) -> Tensor:
    """Mean over tokens of minus advantage times importance weight: unbiased also where weights moved on since."""
    rollouts = group.trained
    rewards = torch.tensor([rollout.reward for rollout in rollouts])
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-6) if len(rollouts) > 1 else rewards * 0.0
    total = torch.zeros(())
    for rollout, advantage in zip(rollouts, advantages, strict=True):
        tokens = torch.tensor(list(rollout.token_ids))
        text = torch.cat([torch.tensor(group.prompt_ids), tokens])
        logits = model(input_ids=text[None]).logits[0, len(group.prompt_ids) - 1 : -1] / temperature
        logprobs = logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
        ratio = (logprobs - torch.tensor(list(rollout.logprobs))).exp().clamp(max=2.0)
        total = total - (advantage * ratio).sum()
    return total / max(1, group.num_tokens)


def main(run_id: str, model_folder: Path, work_folder: Path) -> None:
    """Train until the run ends."""
    work_folder.mkdir(parents=True, exist_ok=True)
    latest = work_folder / "latest"
    progress = Progress.decode((latest / "progress.json").read_bytes()) if latest.exists() else Progress()
    source = latest.resolve() if latest.exists() else model_folder
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)
    with TrainingClient(URL, run_id, token=TOKEN, progress=progress) as client:
        client.begin(source)
        for batch in client.batches():
            sum_losses = 0.0
            for group in batch.groups:
                loss = group_loss(model, group, client.temperature) / len(batch.groups)
                loss.backward()  # type: ignore[no-untyped-call]  # not annotated in torch
                sum_losses += loss.item()
            optimiser.step()
            optimiser.zero_grad()
            # A version is never given twice, so no server is reading what is written here.
            folder = work_folder / f"version-{client.version + 1}"
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            client.applied(batch, folder, stats={"loss": sum_losses})
            (folder / "progress.json").write_bytes(client.progress.encode())
            fresh = work_folder / "latest.new"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(folder.name)
            fresh.replace(latest)
            client.checkpointed()
            for old in set(work_folder.glob("version-*")) - {folder, *map(Path, client.weights_in_use())}:
                shutil.rmtree(old)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).absolute())
