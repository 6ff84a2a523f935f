"""`trl_peer.py MODEL ROWS STEPS MICRO OUT`, a file for the interpreter that has TRL: its trainer on the same batch.

Owns: handing the trainer rows that are sampled already, and timing its own loss, backward and update. Imports nothing
of ours. Prints seconds of each step as JSON.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]  # likewise


def padded(rows: list[list[int]], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and their mask."""
    width = max(len(row) for row in rows)
    gaps = [[0] * (width - len(row)) for row in rows]
    ones = [[1] * len(row) for row in rows]
    pairs = list(zip(rows, gaps, ones, strict=True))
    ids = [gap + row if left else row + gap for row, gap, _ in pairs]
    mask = [gap + one if left else one + gap for _, gap, one in pairs]
    return torch.tensor(ids), torch.tensor(mask)


def micro_batches(rows: list[dict[str, Any]], size: int) -> list[dict[str, torch.Tensor]]:
    """What the trainer's loss takes, rows of like length together."""
    rows = sorted(rows, key=lambda row: len(row["prompt_ids"]) + len(row["completion_ids"]))
    batches = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        prompt_ids, prompt_mask = padded([row["prompt_ids"] for row in part], left=True)
        completion_ids, completion_mask = padded([row["completion_ids"] for row in part], left=False)
        batches.append(
            {
                "prompt_ids": prompt_ids,
                "prompt_mask": prompt_mask,
                "completion_ids": completion_ids,
                "completion_mask": completion_mask,
                "advantages": torch.tensor([row["advantage"] for row in part]),
                "num_items_in_batch": torch.tensor(sum(len(row["completion_ids"]) for row in rows)),
            }
        )
    return batches


def main(model_path: str, rows_path: str, steps: int, micro: int, out: str) -> None:
    """One warm-up, then as many steps as asked."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    batches = micro_batches(json.loads(Path(rows_path).read_text()), micro)
    config = GRPOConfig(
        output_dir=out,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=len(batches),
        num_generations=micro,
        beta=0.0,
        loss_type="dapo",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(model_path),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "1"}] * 64),
    )
    trainer.current_gradient_accumulation_steps = len(batches)
    model = trainer.model
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        for batch in batches:
            trainer.compute_loss(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(time.perf_counter() - began)
    sys.stdout.write(json.dumps(seconds[1:]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
