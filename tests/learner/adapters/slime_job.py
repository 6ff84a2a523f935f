"""`slime_job.py MODEL FOLDER`: the adapter with the real slime, in slime's own environment.

Does what slime's rollout manager does with its hooks; the actor needs GPUs: its checkpoints are copies. Prints, as
JSON, what each rollout was trained on.
"""

import json
import shutil
import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

from slime.rollout.base_types import call_rollout_fn

from learner.adapters.slime import StreamSource, advantages, generate_rollout
from scheduler.core.errors import InvalidInput, StreamEnded

CRASHED = 1
"""The rollout after which slime dies."""


def main(model: str, root: Path) -> None:
    """Three rollouts, the answer to a fourth, and what is said of another temperature."""
    args = Namespace(
        hf_checkpoint=model,
        save_interval=1,
        save_hf=str(root / "rollout-{rollout_id}"),
        rollout_global_dataset=True,
        rollout_temperature=0.7,
        rollout_batch_size=3,
        n_samples_per_prompt=8,
        grpo_std_normalization=True,
    )
    refused = ""
    try:
        generate_rollout(args, 0, StreamSource(args))
    except InvalidInput as error:
        refused = str(error)
    args.rollout_temperature = 1.0
    source = StreamSource(args)
    rollouts = []
    for rollout_id in range(3):
        output = call_rollout_fn(generate_rollout, args, rollout_id, source, evaluation=False)
        samples = [sample for group in output.samples for sample in group]
        raw, found = advantages(args, samples)
        rows = zip(samples, raw, found, strict=True)
        rollouts.append(
            [
                {
                    "group": sample.group_index,
                    "index": sample.index,
                    "removed": sample.remove_sample,
                    "num_logprobs": len(sample.rollout_log_probs),
                    "response_length": sample.response_length,
                    "reward": reward,
                    "advantage": advantage,
                }
                for sample, reward, advantage in rows
            ]
        )
        folder = Path(args.save_hf.format(rollout_id=rollout_id))
        if rollout_id == CRASHED:
            # No weights yet, so the step is not reported: as if slime had died between its weights and the report.
            folder.mkdir(parents=True)
            with suppress(InvalidInput):
                source.save(rollout_id)
            source.close()
            source = StreamSource(args)
        shutil.copytree(model, folder, dirs_exist_ok=True)
        if rollout_id != CRASHED:
            source.save(rollout_id)
    ending = ""
    try:
        generate_rollout(args, 3, source)
    except StreamEnded as error:
        ending = str(error)
    sys.stdout.write(json.dumps({"refused": refused, "rollouts": rollouts, "ending": ending}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
