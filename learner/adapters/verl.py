"""verl's trainer on the group stream: its agent loop manager takes groups, and every checkpoint publishes weights.

Owns: what is put into verl's TransferQueue for a batch of its prompts, and what a checkpoint of it tells the scheduler.
Never generates, and never speaks to verl's own servers. Invariant: step N of verl is step N of the run, and its groups
are those that the run's batch N names.

    actor_rollout_ref.rollout.agent.agent_loop_manager_class=learner.adapters.verl.StreamAgentLoopManager
    trainer.checkpoint_callback_class=learner.adapters.verl.PublishOnSave

verl asks for as many prompts as its batch is large. What it gets are the scheduler's groups under those prompts' names;
the prompts of its dataset are never looked at.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transfer_queue as tq
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from learner.adapters.temperature import check_temperature
from scheduler.core.errors import InvalidInput, StreamEnded
from scheduler.core.types import Group, Rollout
from scheduler.taking import Progress, TrainingBatch
from scheduler.training_client import TrainingClient

PROGRESS = "pilotcommit.json"
"""In every checkpoint of verl: what the scheduler has to be told when training is resumed from it."""
_TRAIN = "train"
Row = dict[str, Any]


class StreamAgentLoopManager:
    """What verl asks for completions. Its settings are under `pilotcommit` in verl's configuration: url, run, token."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config`: the whole of verl's."""
        self._config = config
        self._client: TrainingClient | None = None
        self._batch: TrainingBatch | None = None

    @classmethod
    def create(cls, *, config: Mapping[str, Any], **_: object) -> "StreamAgentLoopManager":
        """As verl makes it; its servers and rewards are left aside."""
        check(config)
        return cls(config)

    def generate_sequences(self, prompts: Any) -> None:  # noqa: ANN401  # verl's TensorDict
        """Put the next batch's groups into the queue, one for each prompt that verl asks for.

        Where a group was refused as too stale its prompt has failed, which verl's batch bears. Raises StreamEnded once
        the run is over.
        """
        if prompts.get("validate"):
            raise InvalidInput(
                "evaluation is asked of the scheduler: set trainer.test_freq=-1 and trainer.val_before_train=False",
                field="trainer.test_freq",
            )
        uids = [str(uid) for uid in prompts["uid"]]
        step = int(prompts["global_steps"])
        batch = self._next(step)
        if len(batch.groups) + len(batch.refused) != len(uids):
            raise InvalidInput(
                f"the run's batch has {len(batch.groups) + len(batch.refused)} groups and verl asks for {len(uids)}: "
                "set data.train_batch_size to the run's batch_size",
                field="data.train_batch_size",
            )
        self._batch = batch
        for uid, group in zip(uids, batch.groups, strict=False):
            put_group(uid, group, step=step)
        for uid in uids[len(batch.groups) :]:
            tq.kv_put(key=uid, partition_id=_TRAIN, tag={"status": "failure"})

    def _next(self, step: int) -> TrainingBatch:
        if self._client is None:
            self._client = self._begun(step - 1)
        batch = next(self._client.batches(), None)
        if batch is None:
            word = self._client.last_word
            self.close()
            raise StreamEnded("the run is over" if word is None else f"the run is {word.state}: {word.reason}")
        if batch.step != step:
            raise InvalidInput(
                f"verl is at step {step} and the run at {batch.step}: resume from the checkpoint of step "
                f"{batch.step - 1}, or give verl a run of its own",
                field="trainer.resume_mode",
            )
        return batch

    def _begun(self, step: int) -> TrainingClient:
        """A client that has published what verl begins with: the model, or the checkpoint of `step`."""
        where = self._config["pilotcommit"]
        folder = Path(self._config["trainer"]["default_local_dir"]) / f"global_step_{step}"
        progress = Progress.decode((folder / PROGRESS).read_bytes()) if step else Progress()
        client = TrainingClient(where["url"], where["run"], token=where.get("token"), progress=progress)
        client.__enter__()
        actor = self._config["actor_rollout_ref"]
        try:
            client.begin(weights_of(folder) if step else actor["model"]["path"])
            check_temperature(client, actor["rollout"]["temperature"], field="actor_rollout_ref.rollout.temperature")
        except BaseException:
            client.__exit__(None, None, None)
            raise
        return client

    def saved(self, checkpoint: Path) -> None:
        """A checkpoint of verl is complete: its weights are the step's, and its groups are trained."""
        if self._client is None or self._batch is None:
            return
        # Before the report: whoever dies in between can still resume from this checkpoint.
        (checkpoint / PROGRESS).write_bytes(self._client.progress.after(self._batch).encode())
        self._client.applied(self._batch, weights_of(checkpoint))
        self._client.checkpointed()
        self._batch = None

    def close(self) -> None:
        """Leave the run."""
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None


class PublishOnSave(CheckpointCallback):  # type: ignore[misc]  # there are no types here
    """Publishes the weights of every checkpoint, which have to be of every step."""

    def on_save(
        self,
        trainer: Any,  # noqa: ANN401  # verl's
        global_step: int,
        checkpoint_dir: str,
        async_save: bool = False,
        **_: object,
    ) -> None:
        """Called by verl's trainer after each checkpoint."""
        if async_save:
            raise InvalidInput(
                "weights are published once they are complete: set actor_rollout_ref.actor.checkpoint.async_save=False",
                field="actor_rollout_ref.actor.checkpoint.async_save",
            )
        trainer.agent_loop_manager.saved(Path(checkpoint_dir))


def weights_of(checkpoint: Path) -> Path:
    """Where verl writes the actor in Hugging Face's format."""
    return checkpoint / "actor" / "huggingface"


def put_group(uid: str, group: Group, *, step: int) -> None:
    """Put a group into the queue as verl's own agent loop would: a row for each rollout, then that it is finished."""
    rows = [row_of(uid, group, rollout, step=step) for rollout in group.trained]
    if rows:
        tq.kv_batch_put(
            keys=[f"{uid}_{place}_0" for place in range(len(rows))],
            partition_id=_TRAIN,
            fields=list_of_dict_to_tensordict(rows),
            tags=[_tag(row, step=step) for row in rows],
        )
    tq.kv_put(key=uid, partition_id=_TRAIN, tag={"status": "finished" if rows else "failure"})


def row_of(uid: str, group: Group, rollout: Rollout, *, step: int) -> Row:
    """The fields of one rollout."""
    token_ids = list(rollout.token_ids)
    output = AgentLoopOutput(
        prompt_ids=list(group.prompt_ids),
        response_ids=token_ids,
        response_mask=[1] * len(token_ids),
        response_logprobs=list(rollout.logprobs),
        reward_score=rollout.reward,
        num_turns=2,
        metrics=AgentLoopMetrics(),
        extra_fields={
            "reward_extra_info": {"correct": rollout.correct},
            "min_global_steps": rollout.oldest_version,
            "max_global_steps": max(span.version for span in rollout.spans),
        },
    )
    row: Row = output.as_dict()
    row["uid"], row["global_steps"] = uid, step
    row["loss_mask"] = row["response_mask"]
    row["input_ids"] = torch.cat([row["prompts"], row["responses"]])
    row["position_ids"] = torch.arange(len(row["input_ids"]))
    row["multi_modal_inputs"] = {}
    return row


def _tag(row: Row, *, step: int) -> dict[str, object]:
    prompt_len, response_len = len(row["prompts"]), len(row["responses"])
    return {
        "status": "success",
        "prompt_len": prompt_len,
        "response_len": response_len,
        "seq_len": prompt_len + response_len,
        "global_steps": step,
        "min_global_steps": row["extra_fields"]["min_global_steps"],
        "max_global_steps": row["extra_fields"]["max_global_steps"],
    }


def check(config: Mapping[str, Any]) -> None:
    """Raise InvalidInput for settings of verl that the stream cannot serve."""
    trainer, actor = config["trainer"], config["actor_rollout_ref"]["actor"]
    contents: Sequence[str] = actor["checkpoint"]["save_contents"]
    if "pilotcommit" not in config or not {"url", "run"} <= set(config["pilotcommit"]):
        raise InvalidInput("say where the run is: +pilotcommit.url=... +pilotcommit.run=...", field="pilotcommit")
    if trainer["save_freq"] != 1:
        raise InvalidInput(
            f"trainer.save_freq={trainer['save_freq']}: set it to 1, as servers get the weights of every step",
            field="trainer.save_freq",
        )
    if "hf_model" not in contents:
        raise InvalidInput(
            f"actor_rollout_ref.actor.checkpoint.save_contents={list(contents)}: add hf_model, which servers load",
            field="actor_rollout_ref.actor.checkpoint.save_contents",
        )
