"""The learner's settings: environment variables `PILOTCOMMIT_LEARNER_*` and command-line flags, flags first.

Owns: names, units, defaults and cross-checks. Invariant: an unknown flag or variable is an error, so that a typing
mistake never trains with a default.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from scheduler.core.advantage import AdvantageKind
from scheduler.core.errors import InvalidInput
from scheduler.secret_files import with_secrets

PREFIX = "PILOTCOMMIT_LEARNER_"
_TOKEN = f"{PREFIX}TOKEN"


class FloatFormat(StrEnum):
    """A floating type."""

    AUTO = "auto"
    """bf16 where the hardware computes it, else float32."""
    FLOAT32 = "float32"
    """Exact to 7 digits; where server and learner must agree."""
    BF16 = "bf16"
    """Half the memory and, on hardware that has it, twice to three times the speed."""


class Transport(StrEnum):
    """How published weights travel to servers."""

    DISK = "disk"
    """Each server reads the folder."""
    BROADCAST = "broadcast"
    """The learner sends them to all servers at once: NCCL from a GPU, gloo from a processor."""


class Settings(BaseSettings):
    """Everything the learner process is told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        cli_prog_name="learner",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
    )

    scheduler_url: str = "http://127.0.0.1:8400"
    """Where the scheduler's REST API answers."""
    token: SecretStr | None = None
    """With the scope learn, where the scheduler has a token file; keep it in the environment, or in a file that
    PILOTCOMMIT_LEARNER_TOKEN_FILE names: flags can be seen."""
    ca_file: Path | None = None
    """Authorities, in PEM, that have signed the certificate of an https:// scheduler; by default the public ones."""
    cert_file: Path | None = None
    """The learner's own certificate, where the scheduler asks for one (mutual TLS)."""
    key_file: Path | None = None
    """Its key."""
    run_id: str
    """The run to train for; it must exist."""
    model_path: Path
    """Checkpoint directory of the policy at step 0, with its tokenizer; not read where the run can be resumed."""
    work_dir: Path
    """Checkpoints and published weights of this run go here; the servers must be able to read it."""

    learning_rate: float = Field(default=5e-6, gt=0)
    """AdamW's learning rate after warm-up; the default suits a model of some hundred million parameters."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay, on matrices only."""
    warmup_updates: int = Field(default=0, ge=0)
    """Updates over which the learning rate rises linearly."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Longest gradient; longer ones are scaled down to it."""
    advantage: AdvantageKind = AdvantageKind.GRPO
    """How rewards of a group become advantages; the loss is averaged over tokens in every case."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """How far below 1 a probability ratio may fall before its token stops teaching."""
    clip_high: float = Field(default=0.28, gt=0)
    """How far above 1 it may rise; wider than `clip_low`, so that rare tokens can still grow."""
    dual_clip: float = Field(default=10.0, gt=1)
    """Largest ratio that counts against a bad token."""
    importance_cap: float = Field(default=2.0, gt=0)
    """Largest importance weight of a token; bounds the variance that stale or mismatching log-probs bring."""
    selection_weight_cap: float = Field(default=1.0, ge=1)
    """Largest weight of a group chosen with a probability below 1, which is its inverse up to here; 1 weights none."""

    mini_batches: int = Field(default=1, ge=1)
    """Optimiser updates per step."""
    half_batch_cosine: bool = False
    """Report the cosine between the gradients of an update's two halves; costs a second copy of the gradients."""
    micro_batch_tokens: int | None = Field(default=None, ge=1)
    """Padded tokens of one forward and backward: bounds memory. By default 1,024 on a CPU, where larger ones only miss
    the caches, and 16,384 elsewhere."""
    autocast: FloatFormat = FloatFormat.AUTO
    """Arithmetic of forward and backward; the weights themselves stay float32."""
    publish_format: FloatFormat = FloatFormat.AUTO
    """Floating type of published weights: what the servers compute in, so that they round nothing further."""
    transport: Transport = Transport.DISK
    """How servers get published weights; those that a broadcast does not reach load them from `work_dir`."""
    broadcast_address: str = "127.0.0.1"
    """Address of this host at which servers and scheduler reach it, for transport=broadcast."""
    broadcast_port: int = Field(default=0, ge=0, le=65535)
    """Port at which it listens for a broadcast; 0 takes a free one each time. Anybody who reaches it can join in."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    rank_timeout_s: float = Field(default=1800.0, gt=0)
    """Under torchrun, how long one rank waits for another before all give up; no checkpoint may take as long."""
    num_threads: int = Field(default=1, ge=1)
    """Threads torch may use on a CPU; leave cores to a server on the same machine."""
    seed: int = Field(default=0, ge=0)
    """Of torch's generator, at step 0; restored with a checkpoint afterwards."""

    checkpoint_every: int = Field(default=10, ge=1)
    """Steps between checkpoints: what a crash may cost, against 12 bytes a parameter written each time."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept; two, so that one that the disk damaged has a predecessor."""
    keep_weights: int = Field(default=2, ge=1)
    """Published weights kept, beside those that servers may still be loading."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of the Prometheus endpoint; 0 serves none."""
    metrics_host: str = "0.0.0.0"
    """Address at which it listens: every one of this host by default, as Prometheus is seldom on it."""

    tensorboard_dir: Path | None = None
    """Folder for TensorBoard's event files, in a folder of the run's name there; needs pilotcommit[tensorboard]."""
    wandb_project: str | None = Field(default=None, min_length=1)
    """Project of Weights & Biases for the run's numbers; needs pilotcommit[wandb], and heeds its WANDB_ variables:
    WANDB_MODE=offline writes to `work_dir` and asks nobody."""

    @model_validator(mode="after")
    def _mini_batches_need_clipping_room(self) -> "Settings":
        if self.clip_high < self.clip_low:
            raise ValueError(f"clip_high ({self.clip_high}) below clip_low ({self.clip_low}): were they swapped?")
        return self


def load_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Settings from flags and environment; raises InvalidInput with the bad value where they are wrong.

    `--help` prints every setting and exits.
    """
    given = with_secrets(environ, [_TOKEN])
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    if unknown := sorted(name for name in given if name.upper().startswith(PREFIX) and name.upper() not in known):
        raise InvalidInput(f"unknown environment variables: {', '.join(unknown)}", field=unknown[0])
    try:
        # Only a token from a file is passed here; the class reads the environment itself.
        secret = {"token": given[_TOKEN]} if f"{_TOKEN}_FILE" in environ else {}
        return Settings(_cli_parse_args=list(argv), **secret)  # type: ignore[arg-type]  # pydantic validates it
    except (ValidationError, SettingsError) as exc:
        raise InvalidInput(str(exc)) from exc
