"""The committed pools: prompts to train on and held-out prompts, with the base model's success rates.

Owns: the files of pools and how they are made from candidates. Invariant: the same candidates and seed give the same
bytes; a pool and its held-out prompts have the same distribution and no expression in common, not even commuted.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.target.candidates import Candidate
from benchmarks.target.shape import FLAT, U_SHAPED, Shape, choose, sample

FOLDER = Path(__file__).parent / "pools"


class PoolPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt as the API takes it."""

    id: str
    text: str
    answer: str
    metadata: Mapping[str, str]
    """`family`, `expression`, `key` (equal for commuted forms) and `success_rate` of the base model."""

    @property
    def success_rate(self) -> float:
        """Of the base model at temperature 1."""
        return float(self.metadata["success_rate"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """How a pool is made."""

    name: str
    shape: Shape | None
    """None: whatever the candidates have."""
    num_prompts: int
    num_held_out: int
    candidates: str = "candidates"
    """The file of measured candidates that it is drawn from."""

    def candidates_path(self, folder: Path = FOLDER) -> Path:
        """That file."""
        return folder / f"{self.candidates}.ndjson"


REASONING = "reasoning-candidates"
"""The questions of reasoning-gym."""
PLANS = (
    PoolPlan(name="headline", shape=U_SHAPED, num_prompts=1024, num_held_out=256),
    PoolPlan(name="flat", shape=FLAT, num_prompts=512, num_held_out=192),
    PoolPlan(name="reasoning", shape=None, num_prompts=512, num_held_out=192, candidates=REASONING),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A pool and its held-out prompts."""

    prompts: tuple[PoolPrompt, ...]
    held_out: tuple[PoolPrompt, ...]
    """Ordered so that the first so many of them have the distribution of all."""


def make(candidates: Sequence[Candidate], plan: PoolPlan, seed: int) -> Split:
    """The pool of a plan; raises InvalidInput where there are too few candidates."""
    total = plan.num_prompts + plan.num_held_out
    rates = [candidate.success_rate for candidate in candidates]
    families = [candidate.family for candidate in candidates]
    places = sample(rates, total, seed) if plan.shape is None else choose(rates, families, plan.shape, total, seed)
    chosen = [candidates[place] for place in places]
    held_out = _spread(total, plan.num_held_out)
    rng = random.Random(f"{seed}:{plan.name}")
    training = [_prompt(candidate) for place, candidate in enumerate(chosen) if place not in held_out]
    measured = [_prompt(candidate) for place, candidate in enumerate(chosen) if place in held_out]
    rng.shuffle(training)
    return Split(prompts=tuple(training), held_out=tuple(measured[place] for place in _spreading(len(measured))))


def write(name: str, split: Split, folder: Path = FOLDER) -> None:
    """Both files of a pool, a prompt a line."""
    for path, prompts in ((pool_path(name, folder), split.prompts), (held_out_path(name, folder), split.held_out)):
        path.write_bytes(b"".join(msgspec.json.encode(prompt) + b"\n" for prompt in prompts))


def load(name: str, folder: Path = FOLDER) -> Split:
    """A committed pool."""
    return Split(prompts=_read(pool_path(name, folder)), held_out=_read(held_out_path(name, folder)))


def pool_path(name: str, folder: Path = FOLDER) -> Path:
    """Prompts to train on."""
    return folder / f"{name}.ndjson"


def held_out_path(name: str, folder: Path = FOLDER) -> Path:
    """Prompts to measure on."""
    return folder / f"{name}-held-out.ndjson"


def rates_of(prompts: Iterable[PoolPrompt]) -> list[float]:
    """The base model's success rates."""
    return [prompt.success_rate for prompt in prompts]


def _read(path: Path) -> tuple[PoolPrompt, ...]:
    return tuple(msgspec.json.decode(line, type=PoolPrompt) for line in path.read_bytes().splitlines())


def _spread(total: int, count: int) -> frozenset[int]:
    """`count` of `total` places, evenly spaced, so that both parts have the same distribution."""
    return frozenset(round((index + 0.5) * total / count - 0.5) for index in range(count))


def _spreading(count: int) -> list[int]:
    """All of `count` places so that those of any beginning are spread evenly (van der Corput 1935)."""
    width = max(1, (count - 1).bit_length())
    return [place for index in range(1 << width) if (place := int(f"{index:0{width}b}"[::-1], 2)) < count]


def _prompt(candidate: Candidate) -> PoolPrompt:
    return PoolPrompt(
        id=candidate.name or candidate.expression.replace(" ", ""),
        text=candidate.text,
        answer=candidate.answer,
        metadata={
            "family": candidate.family,
            "expression": candidate.expression,
            "key": candidate.key,
            "success_rate": f"{candidate.success_rate:.4g}",
        },
    )
