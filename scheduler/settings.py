"""The scheduler's settings, from the environment and the command line.

Owns: their names, defaults and cross-checks. Built once, in main. Invariant: an unknown key or a value that cannot
work is refused at load, with the value in the message.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

EMBEDDED = "embedded"


class Settings(BaseSettings):
    """Environment variables carry the prefix PILOTCOMMIT_, for example PILOTCOMMIT_SERVERS."""

    model_config = SettingsConfigDict(env_prefix="PILOTCOMMIT_", extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback exposes an API without authentication."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8400
    """Port to listen on."""
    redis_url: str = EMBEDDED
    """redis:// address of the durable state, or `embedded` for a private server that dies with this process."""
    data_dir: Path = Path(".pilotcommit")
    """Where the embedded Redis keeps its append-only file."""
    servers: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses of the SGLang servers, separated by commas in the environment."""
    model: Path
    """Folder with the model's config.json and tokenizer: vocabulary and context limits of every server."""
    api_key: str | None = None
    """Key of the servers' data plane."""
    admin_api_key: str | None = None
    """Key of the servers' control plane, where they have one."""
    max_in_flight: Annotated[int, Field(ge=1)] = 256
    """Attempts in flight per server; about what it can batch."""
    num_reward_workers: Annotated[int, Field(ge=1)] = 2
    """Processes that judge completions."""
    pilot_cap: Annotated[int, Field(ge=1)] = 256
    """Prompts in their pilots at once, at most."""
    lease_ttl_s: Annotated[float, Field(gt=0)] = 15.0
    """How long a dead scheduler's run stays out of reach of its successor."""
    probe_interval_s: Annotated[float, Field(gt=0)] = 1.0
    """Seconds between two looks at each server."""
    heartbeat_s: Annotated[float, Field(gt=0)] = 5.0
    """Longest silence on a group stream; learners take four of them for a dead scheduler."""
    stall_s: Annotated[float, Field(gt=0)] = 120.0
    """Without progress for this long, a warning says what the run waits for."""
    stop_grace_s: Annotated[float, Field(ge=0)] = 10.0
    """What is in flight at a stop gets this long to come back before it counts as lost."""
    log_level: str = "INFO"
    """Least severe level that is logged."""

    @field_validator("servers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("servers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is not an address: it starts with http:// or https://")
        if len(set(value)) != len(value):
            raise ValueError(f"a server is named twice in {', '.join(value)}")
        return value

    @field_validator("model")
    @classmethod
    def _model(cls, value: Path) -> Path:
        if not (value / "config.json").is_file():
            raise ValueError(f"{value} has no config.json: name the folder of the model that the servers serve")
        return value
