"""slime's trainer on the group stream: its rollout function takes groups, and its data source publishes weights.

Owns: the samples slime is given for a rollout, and what its checkpoints tell the scheduler. Never generates, and never
speaks to slime's own servers. Invariant: rollout N of slime, which counts from 0, is step N + 1 of the run.

    --data-source-path learner.adapters.slime.StreamSource
    --rollout-function-path learner.adapters.slime.generate_rollout
    --custom-reward-post-process-path learner.adapters.slime.advantages
    --save-interval 1 --save-hf /shared/run-1/rollout-{rollout_id}

with PILOTCOMMIT_URL, PILOTCOMMIT_RUN and PILOTCOMMIT_TOKEN in the environment.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slime.rollout.base_types import RolloutFnTrainOutput
from slime.utils.types import Sample

from learner.adapters.temperature import check_temperature
from scheduler.core.advantage import AdvantageKind, counted_advantages
from scheduler.core.errors import InvalidInput, StreamEnded
from scheduler.core.types import FinishReason, Group, Rollout
from scheduler.taking import Progress, TrainingBatch
from scheduler.training_client import TrainingClient

PROGRESS = "pilotcommit.json"
"""Beside every step's weights: what the scheduler has to be told when training is resumed from them."""


class StreamSource:
    """slime's data source, which lives as long as its rollout manager: here the run, as its trainer reaches it."""

    def __init__(self, args: Any, environ: Mapping[str, str] = os.environ) -> None:  # noqa: ANN401  # slime's namespace
        """Raises InvalidInput for settings of slime that the stream cannot serve."""
        _check(args)
        missing = [name for name in ("PILOTCOMMIT_URL", "PILOTCOMMIT_RUN") if not environ.get(name)]
        if missing:
            raise InvalidInput(f"say where the run is: set {' and '.join(missing)}", field=missing[0])
        self._args = args
        self._environ = environ
        self._client: TrainingClient | None = None
        self._batch: TrainingBatch | None = None

    def take(self, rollout_id: int) -> list[list[Sample]]:
        """The groups of a rollout, filled up to as many samples as slime wants.

        Raises StreamEnded once the run is over.
        """
        if self._client is None:
            self._client = self._begun(rollout_id)
        batch = next(self._client.batches(), None)
        if batch is None:
            word = self._client.last_word
            self.close()
            raise StreamEnded("the run is over" if word is None else f"the run is {word.state}: {word.reason}")
        if batch.step != rollout_id + 1:
            raise InvalidInput(
                f"slime is at rollout {rollout_id} and the run at step {batch.step}: resume from rollout "
                f"{batch.step - 2}, or give slime a run of its own",
                field="start_rollout_id",
            )
        self._batch = batch
        return self._filled([samples_of(place, group) for place, group in enumerate(batch.groups)])

    def save(self, rollout_id: int) -> None:
        """slime has saved a rollout's step: publish its weights, and its groups are trained."""
        if self._client is None or self._batch is None:
            return
        folder = self._weights(rollout_id)
        # Before the report: whoever dies in between can still resume from this step.
        (folder / PROGRESS).write_bytes(self._client.progress.after(self._batch).encode())
        self._client.applied(self._batch, folder)
        self._client.checkpointed()
        self._batch = None

    def load(self, rollout_id: int | None = None) -> None:
        """Nothing: `take` knows from its first rollout where slime resumed."""

    def get_samples(self, num_samples: int) -> list[list[Sample]]:
        """Not for this source: raises InvalidInput."""
        raise InvalidInput(
            "prompts are the scheduler's to choose: set rollout_function_path to this module's generate_rollout",
            field="rollout_function_path",
        )

    def add_samples(self, samples: Sequence[Sequence[Sample]]) -> None:
        """Not for this source: raises InvalidInput."""
        raise InvalidInput("nothing goes back into the stream: leave partial rollouts off", field="partial_rollout")

    def __len__(self) -> int:
        return 0

    def close(self) -> None:
        """Leave the run."""
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None

    def _begun(self, rollout_id: int) -> TrainingClient:
        """A client that has published what slime begins with: the model, or the weights of the rollout before."""
        folder = self._weights(rollout_id - 1) if rollout_id else Path(self._args.hf_checkpoint)
        progress = Progress.decode((folder / PROGRESS).read_bytes()) if rollout_id else Progress()
        url, run_id = self._environ["PILOTCOMMIT_URL"], self._environ["PILOTCOMMIT_RUN"]
        client = TrainingClient(url, run_id, token=self._environ.get("PILOTCOMMIT_TOKEN"), progress=progress)
        client.__enter__()
        try:
            client.begin(folder)
            check_temperature(client, self._args.rollout_temperature, field="rollout_temperature")
        except BaseException:
            client.__exit__(None, None, None)
            raise
        return client

    def _weights(self, rollout_id: int) -> Path:
        return Path(self._args.save_hf.format(rollout_id=rollout_id))

    def _filled(self, groups: list[list[Sample]]) -> list[list[Sample]]:
        """The same, and copies that count for nothing up to slime's batch: its number of samples is fixed."""
        wanted = self._args.rollout_batch_size * self._args.n_samples_per_prompt
        samples = [sample for group in groups for sample in group]
        if not samples:
            raise InvalidInput(
                "every group was refused as too stale: raise the run's max_staleness", field="max_staleness"
            )
        if len(samples) > wanted:
            raise InvalidInput(
                f"the batch has {len(samples)} rollouts and slime takes {wanted}: set rollout_batch_size to the run's "
                "batch_size and n_samples_per_prompt to its largest group",
                field="n_samples_per_prompt",
            )
        for index, sample in enumerate(samples):
            sample.index = index
        filling = [
            replace(samples[0], index=index, group_index=len(groups), remove_sample=True)
            for index in range(len(samples), wanted)
        ]
        return [*groups, filling] if filling else groups


def generate_rollout(
    args: Any,  # noqa: ANN401  # slime's namespace
    rollout_id: int,
    data_source: StreamSource,
    evaluation: bool = False,
) -> RolloutFnTrainOutput:
    """slime's rollout function."""
    if evaluation:
        raise InvalidInput("evaluation is asked of the scheduler: leave eval_interval out", field="eval_interval")
    return RolloutFnTrainOutput(samples=data_source.take(rollout_id))


def advantages(args: Any, samples: Sequence[Sample]) -> tuple[list[float], list[float]]:  # noqa: ANN401  # likewise
    """slime's reward post-processing: raw rewards, and advantages by group, as groups need not be of one size."""
    kind = AdvantageKind.GRPO if args.grpo_std_normalization else AdvantageKind.DR_GRPO
    raw = [float(sample.reward) for sample in samples]
    found = [0.0] * len(samples)
    for group in {sample.group_index for sample in samples}:
        places = [place for place, sample in enumerate(samples) if sample.group_index == group]
        counted = [not samples[place].remove_sample for place in places]
        values = counted_advantages([raw[place] for place in places], counted, kind)
        for place, value in zip(places, values.tolist(), strict=True):
            found[place] = value
    return raw, found


def samples_of(place: int, group: Group) -> list[Sample]:
    """A group as slime knows it."""
    return [_sample(place, group, rollout) for rollout in group.rollouts]


def _sample(place: int, group: Group, rollout: Rollout) -> Sample:
    truncated = rollout.finish_reason is FinishReason.LENGTH
    return Sample(
        group_index=place,
        tokens=[*group.prompt_ids, *rollout.token_ids],
        response=rollout.text,
        response_length=len(rollout.token_ids),
        reward=rollout.reward,
        loss_mask=[1] * len(rollout.token_ids),
        rollout_log_probs=list(rollout.logprobs),
        weight_versions=[str(span.version) for span in rollout.spans],
        remove_sample=rollout.masked,
        status=Sample.Status.TRUNCATED if truncated else Sample.Status.COMPLETED,
        metadata={"prompt_id": group.prompt_id, "group_id": group.group_id, "rid": rollout.rid},
    )


def _check(args: Any) -> None:  # noqa: ANN401  # likewise
    if args.save_interval != 1:
        raise InvalidInput(
            f"save_interval={args.save_interval}: set it to 1, as servers get the weights of every step",
            field="save_interval",
        )
    if not args.save_hf or "{rollout_id}" not in args.save_hf:
        raise InvalidInput(
            f"save_hf={args.save_hf}: name a folder with {{rollout_id}} in it, where servers read each step's weights",
            field="save_hf",
        )
    if not args.rollout_global_dataset:
        raise InvalidInput(
            "leave rollout_global_dataset on: slime tells only then of its checkpoints", field="rollout_global_dataset"
        )
