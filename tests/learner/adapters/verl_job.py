"""`verl_job.py URL MODEL FOLDER`: the adapter with the real verl and its TransferQueue, in verl's own environment.

Does what verl's trainer does with its two hooks, and with verl's own code: asks for prompts, samples the batch from its
replay buffer, computes the advantages, saves and calls back. The actor itself needs GPUs: its checkpoints are copies.
Prints, as JSON, what each step was trained on.
"""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
import transfer_queue as tq
from omegaconf import OmegaConf
from verl import DataProto
from verl.trainer.ppo.checkpoint_callback import build_checkpoint_callback
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils import tensordict_utils
from verl.utils.import_utils import load_class_from_fqn

from learner.adapters.verl import weights_of
from scheduler.core.errors import InvalidInput

GROUPS = 2
CRASHED = 2
"""The step after which verl dies."""
_FIELDS = ["uid", "prompts", "responses", "response_mask", "rm_scores", "rollout_log_probs"]


def main(url: str, model: str, folder: Path) -> None:
    """Three steps, the answer to a fourth, and what is said of another temperature."""
    config = OmegaConf.create(
        {
            "pilotcommit": {"url": url, "run": "run"},
            "trainer": {
                "save_freq": 1,
                "default_local_dir": str(folder),
                "checkpoint_callback_class": "learner.adapters.verl.PublishOnSave",
            },
            "actor_rollout_ref": {
                "model": {"path": model},
                "actor": {"checkpoint": {"save_contents": ["model", "hf_model"]}},
                "rollout": {
                    "temperature": 0.7,
                    "agent": {"agent_loop_manager_class": "learner.adapters.verl.StreamAgentLoopManager"},
                },
            },
        }
    )
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    storage = {"storage_backend": "SimpleStorage", "SimpleStorage": {"num_data_storage_units": 1}}
    tq.init(OmegaConf.create({"backend": storage}))
    manager_class = load_class_from_fqn(
        config.actor_rollout_ref.rollout.agent.agent_loop_manager_class, "AgentLoopManager"
    )

    def make_manager() -> Any:
        return manager_class.create(
            config=config, llm_client=None, teacher_client=None, reward_loop_worker_handles=None
        )

    callback = build_checkpoint_callback(config)
    buffer = ReplayBuffer("sync", OmegaConf.create({}), None, "drop", OmegaConf.create({}), poll_interval=0.05)
    refused, steps = "", []
    try:
        _step(make_manager(), buffer, 1)
    except InvalidInput as error:
        refused = str(error)
    tq.kv_clear(keys=[f"step1prompt{place}" for place in range(GROUPS)], partition_id="train")
    config.actor_rollout_ref.rollout.temperature = 1.0
    manager = make_manager()
    for step in range(1, 4):
        steps.append(_step(manager, buffer, step))
        checkpoint = folder / f"global_step_{step}"
        if step == CRASHED:
            # No weights yet, so the step is not reported: as if verl had died between its checkpoint and the report.
            weights_of(checkpoint).mkdir(parents=True)
            with suppress(InvalidInput):
                _save(callback, manager, checkpoint, step)
            manager.close()
            manager = make_manager()
        shutil.copytree(model, weights_of(checkpoint), dirs_exist_ok=True)
        if step != CRASHED:
            _save(callback, manager, checkpoint, step)
    ending = ""
    try:
        _step(manager, buffer, 4)
    except Exception as error:  # noqa: BLE001  # the test looks at which it is
        ending = f"{type(error).__name__}: {error}"
    tq.close()
    ray.shutdown()
    sys.stdout.write(json.dumps({"refused": refused, "steps": steps, "ending": ending}) + "\n")


def _save(callback: Any, manager: Any, checkpoint: Path, step: int) -> None:
    trainer = SimpleNamespace(agent_loop_manager=manager)
    callback.on_save(trainer=trainer, global_step=step, checkpoint_dir=str(checkpoint), async_save=False)


def _step(manager: Any, buffer: ReplayBuffer, step: int) -> list[dict[str, Any]]:
    uids = [f"step{step}prompt{place}" for place in range(GROUPS)]
    tags = [{"is_prompt": True, "status": "pending", "global_steps": step}] * GROUPS
    tq.kv_batch_put(keys=uids, partition_id="train", tags=tags)
    prompts = tensordict_utils.get_tensordict({"uid": np.array(uids, dtype=object)})
    tensordict_utils.assign_non_tensor_data(prompts, "global_steps", step)
    manager.generate_sequences(prompts)
    batch, _ = buffer.sample(global_steps=step, partition_id="train", batch_size=GROUPS)
    data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=_FIELDS)
    lengths = [len(row) for row in data["responses"].unbind()]
    prompts_read = [row.tolist() for row in data["prompts"].unbind()]
    padded = DataProto(batch=data.to_padded_tensor())
    padded.non_tensor_batch["uid"] = np.array(padded.batch.pop("uid").tolist(), dtype=object)
    padded.batch["token_level_rewards"] = padded.batch["rm_scores"]
    padded = compute_advantage_for_multi_trajectories(padded, batch_keys=batch.keys, adv_estimator="grpo")
    rows = zip(
        padded.non_tensor_batch["uid"],
        prompts_read,
        lengths,
        padded.batch["rm_scores"].sum(-1).tolist(),
        padded.batch["advantages"][:, 0].tolist(),
        padded.batch["rollout_log_probs"][:, 0].tolist(),
        strict=True,
    )
    names = ("uid", "prompt", "length", "reward", "advantage", "logprob")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    tq.kv_clear(keys=batch.keys, partition_id="train")
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
