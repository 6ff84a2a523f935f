"""`trl_job.py URL MODEL FOLDER MAX_STEPS [CHECKPOINT]`: the adapter with the real TRL, in TRL's own environment.

Prints, as JSON, the state of the run as its last frame said it, and what TRL logged.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig  # type: ignore[import-not-found]  # in an environment of its own

from learner.adapters.trl import StreamGRPOTrainer, progress_of
from scheduler.training_client import TrainingClient


def main(url: str, model_folder: str, folder: Path, max_steps: int, checkpoint: str | None) -> None:
    """Train until the run ends, or TRL has done its own number of steps."""
    config = GRPOConfig(
        output_dir=str(folder / "trl"),
        max_steps=max_steps,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=3,
        num_generations=2,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        beta=0.0,
        loss_type="dapo",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="steps",
        save_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    source = checkpoint or model_folder
    with TrainingClient(url, "run", progress=progress_of(checkpoint)) as client:
        trainer = StreamGRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32),
            args=config,
            processing_class=AutoTokenizer.from_pretrained(model_folder),
            client=client,
            initial_weights=source,
            weights_folder=folder / "weights",
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        last = client.last_word
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    sys.stdout.write(json.dumps({"state": last and last.state, "logs": logs}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5] if len(sys.argv) > 5 else None)
