"""`trl_peer.py JOB`, a file for the interpreter that has TRL: its GRPOTrainer on the pool of a job, step by step.

Owns: TRL's settings, its timing, and the lines written of it. Imports nothing of ours. Invariants: evaluation is never
on the clock; a line is written for each step, and one of the kind `end` once the run is over.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]  # likewise

ENOUGH_IN_A_ROW = 3
"""Evaluations over the target after which the run need not go on, as with ours."""
_EVALUATED_AT_ONCE = 32


class Clock:
    """Seconds of training by part; it stands still while the policy is evaluated."""

    def __init__(self) -> None:
        self.generation = self.preparing = self.stepping = self.evaluation = 0.0
        self.rollouts = self.tokens = 0
        self._began = time.perf_counter()

    def start(self) -> None:
        """Training begins now."""
        self._began = time.perf_counter() - self.evaluation

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return time.perf_counter() - self._began - self.evaluation


class TimedTrainer(GRPOTrainer):  # type: ignore[misc]  # there are no types here
    """TRL's trainer; what it does is its own, and how long that takes is noted."""

    clock: Clock

    def _generate_single_turn(self, *arguments: object, **named: object) -> tuple[list[list[int]], object]:
        began = time.perf_counter()
        completion_ids, logprobs = super()._generate_single_turn(*arguments, **named)
        self.clock.generation += time.perf_counter() - began
        self.clock.rollouts += len(completion_ids)
        self.clock.tokens += sum(map(len, completion_ids))
        return completion_ids, logprobs

    def _prepare_inputs(self, inputs: object) -> dict[str, torch.Tensor]:
        began = time.perf_counter()
        prepared: dict[str, torch.Tensor] = super()._prepare_inputs(inputs)
        self.clock.preparing += time.perf_counter() - began
        return prepared


class HeldOut:
    """The measure: the policy's own probability of the reference answers, by prefill."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tasks: list[dict[str, str]]) -> None:
        def ids(text: str) -> list[int]:
            found: list[int] = tokenizer.encode(text, add_special_tokens=False)
            return found

        self._rows = sorted(((ids(task["text"]), ids(task["target"])) for task in tasks), key=lambda row: len(row[0]))

    @torch.inference_mode()
    def accuracy(self, model: PreTrainedModel) -> float:
        """The mean over all tasks."""
        chunks = range(0, len(self._rows), _EVALUATED_AT_ONCE)
        logprobs = [self._logprobs(model, self._rows[start : start + _EVALUATED_AT_ONCE]) for start in chunks]
        return float(torch.cat(logprobs).exp().mean())

    def _logprobs(self, model: PreTrainedModel, rows: list[tuple[list[int], list[int]]]) -> torch.Tensor:
        texts = [torch.tensor(prompt + target) for prompt, target in rows]
        # Padding is on the right, where causal attention never looks: no mask is needed.
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        hidden_RTH = model.base_model(input_ids=ids).last_hidden_state
        head = cast(torch.nn.Module, model.get_output_embeddings())  # type: ignore[no-untyped-call]  # theirs
        found = []
        for row, (prompt, target) in enumerate(rows):
            logits = head(hidden_RTH[row, len(prompt) - 1 : len(prompt) - 1 + len(target)])
            found.append(logits.log_softmax(-1).gather(-1, torch.tensor(target)[:, None]).sum())
        return torch.stack(found)


class Lines(TrainerCallback):
    """Writes a line for each step, evaluates at the job's cadence, and ends the run once it is over."""

    def __init__(
        self, job: dict[str, Any], clock: Clock, held_out: HeldOut, write: Callable[[dict[str, Any]], None]
    ) -> None:
        self._job = job
        self._clock = clock
        self._held_out = held_out
        self._write = write
        self._accuracies: list[float] = []
        self._step_began = 0.0

    def on_train_begin(  # type: ignore[override]  # the model is always passed
        self, *_: object, model: PreTrainedModel, **__: object
    ) -> None:
        """The policy before training."""
        self._write_step(0, model)
        self._clock.start()

    def on_step_begin(self, *_: object, **__: object) -> None:
        """The first micro-batch of a step."""
        self._step_began = time.perf_counter()

    def on_step_end(  # type: ignore[override]  # likewise
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel,
        **_: object,
    ) -> None:
        """The weights are updated."""
        self._clock.stepping += time.perf_counter() - self._step_began
        self._write_step(state.global_step, model)
        last, target = self._accuracies[-ENOUGH_IN_A_ROW:], self._job["enough"]
        enough = target is not None and len(last) == ENOUGH_IN_A_ROW and min(last) > target
        late = self._job["minutes"] is not None and self._clock.elapsed > 60 * self._job["minutes"]
        if enough or late or state.global_step == state.max_steps:
            reason = "it is past the target" if enough else "its time is up" if late else "its budget is spent"
            self._write({"kind": "end", "reached_target": enough, "reason": reason, "elapsed_s": self._clock.elapsed})
            control.should_training_stop = True

    def _write_step(self, step: int, model: PreTrainedModel) -> None:
        clock = self._clock
        line: dict[str, Any] = {
            "kind": "step",
            "step": step,
            "elapsed_s": clock.elapsed if step else 0.0,
            "rollouts": clock.rollouts,
            "tokens": clock.tokens,
            "generation_s": clock.generation,
            "learning_s": clock.stepping - clock.preparing,
            "accuracy": None,
            "evaluation_s": 0.0,
        }
        if step % self._job["evaluate_every"] == 0:
            began = time.perf_counter()
            line["accuracy"] = self._held_out.accuracy(model)
            line["evaluation_s"] = time.perf_counter() - began
            clock.evaluation += line["evaluation_s"]
            self._accuracies.append(line["accuracy"])
        self._write(line)


def reward(completions: list[str], answer: list[str], **_: object) -> list[float]:
    """As the pool's: right where the stripped texts are equal."""
    return [float(text.strip() == right.strip()) for text, right in zip(completions, answer, strict=True)]


def config_of(job: dict[str, Any]) -> GRPOConfig:
    """TRL's settings, as near to ours as it has them."""
    rollouts = job["groups"] * job["group_size"]
    return GRPOConfig(
        output_dir=job["folder"],
        seed=job["seed"],
        max_steps=max(1, job["budget_rollouts"] // rollouts),
        per_device_train_batch_size=job["micro"],
        gradient_accumulation_steps=rollouts // job["micro"],
        num_generations=job["group_size"],
        max_completion_length=job["max_new_tokens"],
        temperature=1.0,
        use_transformers_continuous_batching=job["generator"] == "continuous",
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        weight_decay=job["weight_decay"],
        max_grad_norm=job["grad_clip"],
        epsilon=job["clip_low"],
        epsilon_high=job["clip_high"],
        delta=job["dual_clip"],
        beta=0.0,
        loss_type="dapo",
        scale_rewards="group",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def trainer_of(job: dict[str, Any]) -> TimedTrainer:
    """The trainer with its model, pool and reward."""
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    # What ends a rollout of ours is a newline; TRL stops at tokens, and every token with a newline in it is one.
    stops = [number for number in range(len(tokenizer)) if job["stop"] in tokenizer.decode([number])]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *stops]
    pool = [{"prompt": prompt["text"], "answer": prompt["answer"]} for prompt in job["prompts"]]
    trainer = TimedTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward,
        args=config_of(job),
        train_dataset=Dataset.from_list(pool),
    )
    trainer.clock = Clock()
    return trainer


def generated(trainer: TimedTrainer, job: dict[str, Any]) -> dict[str, Any]:
    """The generator on one step's prompts, after a small batch that warms it up."""
    prompts = [prompt["text"] for prompt in job["prompts"][: job["groups"]] for _ in range(job["group_size"])]
    trainer.model.train()
    trainer._generate(prompts[:2])
    before = trainer.clock.rollouts, trainer.clock.tokens, trainer.clock.generation
    trainer._generate(prompts)
    return {
        "kind": "generated",
        "generator": job["generator"],
        "rollouts": trainer.clock.rollouts - before[0],
        "tokens": trainer.clock.tokens - before[1],
        "seconds": trainer.clock.generation - before[2],
    }


def main(path: str) -> None:
    """Train until the job says enough; with a budget of nothing, time its generator."""
    job = json.loads(Path(path).read_text())
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    trainer = trainer_of(job)
    held_out = HeldOut(trainer.processing_class, job["held_out"])
    with Path(job["lines"]).open("w") as lines:

        def write(line: dict[str, Any]) -> None:
            lines.write(json.dumps(line) + "\n")
            lines.flush()

        if not job["budget_rollouts"]:
            write(generated(trainer, job))
            return
        trainer.add_callback(Lines(job, trainer.clock, held_out, write))
        trainer.train()


if __name__ == "__main__":
    main(sys.argv[1])
