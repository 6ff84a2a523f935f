"""TRL's GRPOTrainer on the group stream: its loss and its loop, our groups, rewards and weight versions.

Owns: what of GRPOTrainer is replaced (where a step's rows come from, and what happens to its weights). Never generates,
and never computes a reward. Invariant: one optimiser step of TRL is one step of the run.

A subclass and not a `rollout_func`: that is given the prompts that TRL has sampled and has to answer all of them in
groups of `num_generations`, and here neither the prompts nor the sizes of the groups are TRL's to choose.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]  # in an environment of its own

from learner.adapters.temperature import check_temperature
from scheduler.core.advantage import AdvantageKind, counted_advantages
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Rollout
from scheduler.taking import Progress, TrainingBatch
from scheduler.training_client import TrainingClient

PROGRESS = "pilotcommit.json"
"""In every checkpoint of TRL: what the scheduler has to be told when training is resumed from it."""


def progress_of(checkpoint: str | Path | None) -> Progress:
    """The progress to make a client with: that of the checkpoint that `train(resume_from_checkpoint=...)` is given."""
    return Progress() if checkpoint is None else Progress.decode((Path(checkpoint) / PROGRESS).read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One rollout as TRL trains on it."""

    prompt_ids: tuple[int, ...]
    rollout: Rollout
    advantage: float


class StreamGRPOTrainer(GRPOTrainer):  # type: ignore[misc]  # there are no types here
    """GRPOTrainer without a dataset, a reward or a generator of its own; for one process."""

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        args: GRPOConfig,
        processing_class: PreTrainedTokenizerBase,
        client: TrainingClient,
        initial_weights: str | Path,
        weights_folder: str | Path,
        advantage: AdvantageKind = AdvantageKind.GRPO,
        callbacks: Sequence[TrainerCallback] = (),
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        """`client` is open, with the progress of the checkpoint to resume from.

        `initial_weights`: a checkpoint of transformers with the weights of `model`. Every step's weights go to a folder
        `version-N` of their own in `weights_folder`, where the servers can read them; what no server reads any more is
        deleted there. Raises InvalidInput for settings of TRL that
        the stream cannot serve.
        """
        _check(args)
        # The stream knows where it is: nothing is to be skipped when training is resumed.
        args.ignore_data_skip = True
        super().__init__(
            model=model,
            args=args,
            processing_class=processing_class,
            reward_funcs=_not_asked,
            train_dataset=Dataset.from_list([{"prompt": ""}]),
            callbacks=[*callbacks, _Reporting(self)],
            optimizers=optimizers,
        )
        self.client = client
        self.batch: TrainingBatch | None = None
        self._initial_weights = Path(initial_weights)
        self._weights_folder = Path(weights_folder)
        self._advantage = advantage
        self._unsaved = False

    def get_train_dataloader(self) -> Iterator[dict[str, Tensor]]:
        """The micro-batches of batch after batch, until the run ends."""
        return self._micro_batches()

    def _micro_batches(self) -> Iterator[dict[str, Tensor]]:
        self.client.begin(self._initial_weights)
        check_temperature(self.client, self.args.temperature, field="temperature")
        for batch in self.client.batches():
            rows = self._rows(batch)
            if not any(row.advantage for row in rows):
                # Nothing to learn, but a step all the same: the weights are announced again.
                self._report(batch, {})
                continue
            self.batch = batch
            self._note(batch, rows)
            yield from micro_batches(rows, self.args.gradient_accumulation_steps, self._tokenizer.pad_token_id)
        self.control.should_training_stop = True
        self.control.should_save = self._unsaved

    def _prepare_inputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.accelerator.device) for name, tensor in inputs.items()}

    def _rows(self, batch: TrainingBatch) -> list[Row]:
        rows: list[Row] = []
        for group in batch.groups:
            rewards, counted = [r.reward for r in group.rollouts], [not r.masked for r in group.rollouts]
            advantages = counted_advantages(rewards, counted, self._advantage).tolist()
            for rollout, advantage in zip(group.rollouts, advantages, strict=True):
                if not rollout.masked:
                    rows.append(Row(prompt_ids=group.prompt_ids, rollout=rollout, advantage=advantage))
        return rows

    def _note(self, batch: TrainingBatch, rows: Sequence[Row]) -> None:
        """What TRL would have logged of its own generation."""
        metrics = self._metrics["train"]
        metrics["reward"].append(sum(row.rollout.reward for row in rows) / len(rows))
        metrics["completions/mean_length"].append(sum(len(row.rollout.token_ids) for row in rows) / len(rows))
        metrics["pilotcommit/groups"].append(float(len(batch.groups)))
        metrics["pilotcommit/refused"].append(float(len(batch.refused)))

    def stepped(self) -> None:
        """The optimiser has stepped on `batch`: write the weights and report them."""
        if self.batch is not None:
            self._report(self.batch, {"learning_rate": self._get_learning_rate()})
            self.batch = None

    def _report(self, batch: TrainingBatch, stats: dict[str, float]) -> None:
        # A version is never given twice, so no server is reading what is written here.
        folder = self._weights_folder / f"version-{self.client.version + 1}"
        self.save_model(str(folder), _internal_call=True)
        # Also of a batch that taught nothing: the run ends only once its last step is in a checkpoint.
        self._unsaved = True
        if self.client.applied(batch, folder, stats=stats) is not None:
            self._prune(folder)

    def _prune(self, current: Path) -> None:
        """Delete what no server reads any more: every step writes a whole model."""
        in_use = [Path(path) for path in self.client.weights_in_use()]
        kept = {path.resolve() for path in (current, self._initial_weights, *in_use)}
        for folder in self._weights_folder.glob("version-*"):
            if folder.resolve() not in kept:
                shutil.rmtree(folder)

    def saved(self, checkpoint: Path) -> None:
        """A checkpoint of TRL is complete: it is to be found again, and its groups are trained."""
        (checkpoint / PROGRESS).write_bytes(self.client.progress.encode())
        self.client.checkpointed()
        self._unsaved = False


class _Reporting(TrainerCallback):
    """Tells the trainer of its own steps and checkpoints."""

    def __init__(self, trainer: StreamGRPOTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, *_: object, **__: object) -> None:
        """The weights are updated."""
        self._trainer.stepped()

    def on_save(self, args: GRPOConfig, state: Any, *_: object, **__: object) -> None:  # noqa: ANN401  # TRL's
        """A checkpoint was written."""
        self._trainer.saved(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def micro_batches(rows: Sequence[Row], count: int, pad_id: int) -> list[dict[str, Tensor]]:
    """Exactly `count` micro-batches of what GRPOTrainer's loss takes, rows of like length together."""
    ordered = sorted(rows, key=lambda row: len(row.prompt_ids) + len(row.rollout.token_ids))
    num_tokens = sum(len(row.rollout.token_ids) for row in rows)
    edges = [round(len(ordered) * place / count) for place in range(count + 1)]
    pieces = [ordered[start:end] for start, end in pairwise(edges)]
    return [
        # With fewer rows than micro-batches some compute a row that counts for nothing.
        _collated(piece or ordered[:1], pad_id, num_tokens=num_tokens, counts=bool(piece))
        for piece in pieces
    ]


def _collated(rows: Sequence[Row], pad_id: int, *, num_tokens: int, counts: bool) -> dict[str, Tensor]:
    width_P = max(len(row.prompt_ids) for row in rows)
    width_T = max(len(row.rollout.token_ids) for row in rows)
    prompts = [list(row.prompt_ids) for row in rows]
    tokens = [list(row.rollout.token_ids) for row in rows]
    logprobs = [list(row.rollout.logprobs) for row in rows]
    completion_mask = torch.tensor([[1] * len(row) + [0] * (width_T - len(row)) for row in tokens])
    return {
        "prompt_ids": torch.tensor([[pad_id] * (width_P - len(row)) + row for row in prompts]),
        "prompt_mask": torch.tensor([[0] * (width_P - len(row)) + [1] * len(row) for row in prompts]),
        "completion_ids": torch.tensor([row + [pad_id] * (width_T - len(row)) for row in tokens]),
        "completion_mask": completion_mask if counts else torch.zeros_like(completion_mask),
        "advantages": torch.tensor([row.advantage for row in rows]),
        # What the servers said when they sampled: the ratio is taken against the policy that did.
        "old_per_token_logps": torch.tensor([row + [0.0] * (width_T - len(row)) for row in logprobs]),
        "num_items_in_batch": torch.tensor(num_tokens),
    }


def _check(args: GRPOConfig) -> None:
    refusals = {
        "world_size": (args.world_size > 1, "the adapter trains in one process"),
        "max_steps": (args.max_steps <= 0, "set max_steps to at least the run's: a stream has no length"),
        "beta": (args.beta != 0.0, "set beta=0.0: the stream carries no log-probs of a reference model"),
        "num_iterations": (args.num_iterations != 1, "set num_iterations=1: a batch is trained once"),
        "use_vllm": (args.use_vllm, "set use_vllm=False: the servers are the scheduler's"),
        "steps_per_generation": (
            args.steps_per_generation != args.gradient_accumulation_steps,
            "leave steps_per_generation out: a batch is one optimiser step",
        ),
    }
    for field, (is_wrong, words) in refusals.items():
        if is_wrong:
            raise InvalidInput(f"{field}={getattr(args, field)}: {words}", field=field)


def _not_asked(completions: Sequence[str], **_: object) -> list[float]:
    raise InvalidInput("rewards come with the groups; TRL has asked for one all the same", field="reward_funcs")
