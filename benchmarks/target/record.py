"""The record of a finished run: JSON lines that say what was run, with what, and what came of it.

Owns: the lines of a record, reading and writing them. Invariant: a record is complete or absent: it is written under
another name and renamed.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from scheduler.core.errors import InvalidInput


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="header"):
    """The first line: what made the record."""

    command: str
    commit: str
    """Of git, with `+` where files differ from it."""
    versions: dict[str, str]
    """Of python, torch, transformers, sglang and pilotcommit."""
    cores: int
    comparison: str
    name: str
    """Of the allocator's entry."""
    seed: int
    learner_settings: dict[str, str]
    server_dtype: str
    request: dict[str, object]
    """What POST /v1/runs was asked."""
    num_prompts: int
    num_held_out: int
    started_at: str
    """UTC, ISO 8601."""


class Version(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="version"):
    """One weight version: a step."""

    step: int
    version: int
    elapsed_s: float
    """Since the run's first claim."""
    evaluation_s: float
    """Of `elapsed_s`, what evaluations took until then: for comparing wall-clocks, they are not a cost of training."""
    spent_rollouts: int
    """Pilots and commits spent when it was announced."""
    spent_tokens: int
    stats: dict[str, float]
    """What the learner measured in the step."""
    parts: dict[str, float] = {}
    """Seconds of the step by part; empty in records from before they were noted."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="evaluation"):
    """Held-out accuracy of one weight version."""

    step: int
    version: int
    accuracy: float
    seconds: float


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    """The last line."""

    state: str
    reason: str
    reached_target: bool
    """Whether it was ended early, three evaluations over the highest target in a row."""
    elapsed_s: float
    considered: int
    skip_rates: dict[str, float]
    ledger: dict[str, object]
    """By stage and outcome, as the API answers it."""
    restarts: dict[str, int]
    """Of processes that died, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A finished run."""

    header: Header
    versions: tuple[Version, ...]
    evaluations: tuple[Evaluation, ...]
    end: End

    def lines(self) -> Iterator[Header | Version | Evaluation | End]:
        """In the order in which they are written."""
        yield self.header
        yield from self.versions
        yield from self.evaluations
        yield self.end


def write(record: Record, path: Path) -> None:
    """Write the record in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in record.lines()))
    os.replace(unfinished, path)


def read(path: Path) -> Record:
    """A record; raises InvalidInput if the file is not one."""
    try:
        lines = [
            msgspec.json.decode(line, type=Header | Version | Evaluation | End)
            for line in path.read_bytes().splitlines()
        ]
    except msgspec.MsgspecError as exc:
        raise InvalidInput(f"{path} is no record: {exc}") from exc
    if not lines or not isinstance(lines[0], Header) or not isinstance(lines[-1], End):
        raise InvalidInput(f"{path} is no record: it has no header or no end")
    return Record(
        header=lines[0],
        versions=tuple(line for line in lines if isinstance(line, Version)),
        evaluations=tuple(line for line in lines if isinstance(line, Evaluation)),
        end=lines[-1],
    )


def read_all(folder: Path) -> list[Record]:
    """Every record of a comparison, by name and seed."""
    found = [read(path) for path in sorted(folder.glob("*.jsonl"))]
    return sorted(found, key=lambda record: (record.header.name, record.header.seed))


def annotate(stats: Mapping[str, float]) -> dict[str, float]:
    """Numbers to six digits: a record is for reading and plotting."""
    return {name: float(f"{value:.6g}") for name, value in stats.items()}
