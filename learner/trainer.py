"""The training step: one batch of groups in, one updated policy out.

Owns: the optimiser and the order of a step (mix, pack, forward, backward, update). Never reads a clock to decide,
touches a file or talks to anybody but the other ranks of a sharded policy. Invariants: the same model, optimiser state
and groups give the same weights, bit for bit on a CPU; any number of ranks gives them up to rounding, as each computes
its share of the rows and what is added up is added up over all; an update whose gradient is not finite is not made.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import repeat

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from transformers import PreTrainedModel

from learner.batch import IDLE_WIDTH, MicroBatch, MixedGroup, Rows, collate, idle, mixed_groups
from learner.forward import completion_logprobs
from learner.half_batch import FirstHalf
from learner.loss import Objective, TokenSums, policy_loss
from learner.ranks import ALONE, Ranks
from learner.sharding import like, whole
from learner.shares import shares
from learner.step_report import StepReport, StepSeconds
from scheduler.core.errors import InvalidCheckpoint, LearnerError
from scheduler.core.types import Group

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of each parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation:
    """How the weights are updated."""

    learning_rate: float
    weight_decay: float = 0.0
    """Applied to matrices only: shrinking norms and biases changes the function without regularising it."""
    warmup_updates: int = 0
    """Updates over which the learning rate rises linearly to its full value; also lets AdamW's moments settle."""
    grad_clip: float = 1.0
    """Largest gradient norm; a longer gradient is scaled down to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """How a batch is computed; the defaults suit a CPU."""

    mini_batches: int = 1
    """Updates per step; the mixed groups are dealt out evenly."""
    micro_batch_tokens: int = 1024
    """Padded tokens of one forward and backward: bounds the memory of activations and logits."""
    autocast: torch.dtype = torch.float32
    """Arithmetic of forward and backward; the weights themselves stay float32."""
    half_batch_cosine: bool = False
    """Whether to report the cosine between the gradients of an update's two halves: every other of its groups."""


@dataclass(slots=True)
class _Tally:
    """What the updates of one step add up to."""

    temperature: float
    seconds: StepSeconds = field(default_factory=StepSeconds)
    sums: TokenSums = field(default_factory=TokenSums)
    grad_norms: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    num_rows: int = 0
    num_distinct_rows: int = 0
    num_prompt_tokens: int = 0

    def count(self, batch: MicroBatch, sums: TokenSums) -> None:
        """Add one micro-batch."""
        if not batch.is_idle:
            self.sums += sums
            self.num_rows += len(batch.row_of_rollout_R)
            self.num_distinct_rows += len(batch.prompt_of_row_D)
            self.num_prompt_tokens += batch.num_prompt_tokens

    def add_up(self, ranks: Ranks) -> None:
        """Sum over all ranks what each has counted of its own share."""
        own_sums = asdict(self.sums)
        *sums, rows, distinct_rows, prompt_tokens = ranks.total(
            [*own_sums.values(), self.num_rows, self.num_distinct_rows, self.num_prompt_tokens]
        )
        self.sums = TokenSums(**dict(zip(own_sums, sums, strict=True)))
        self.num_rows, self.num_distinct_rows, self.num_prompt_tokens = map(int, (rows, distinct_rows, prompt_tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Update:
    """What one optimiser update is made of."""

    halves: list[list[MicroBatch]]
    """This rank's micro-batches: in two parts of whole groups where their agreement is measured, else in one part."""
    num_tokens: int
    """Generated tokens of its groups: what the loss averages over."""

    @property
    def batches(self) -> list[MicroBatch]:
        """All of them in the order of computation."""
        return [batch for half in self.halves for batch in half]


class Trainer:
    """A policy and its optimiser."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        objective: Objective,
        optimisation: Optimisation,
        computation: Computation,
        ranks: Ranks = ALONE,
    ) -> None:
        """`model` is sharded over `ranks` already, where there are several; each of them then makes every call."""
        # Dropout would make the policy differ from what the servers sample from; eval mode still has gradients.
        self.model = model
        self.model.train(False)
        self.num_updates = 0
        self._objective = objective
        self._optimisation = optimisation
        self._computation = computation
        self._ranks = ranks
        self._device = model.device
        self._optimiser = _adamw(model, optimisation)

    def step(self, groups: Sequence[Group], *, temperature: float = 1.0) -> StepReport:
        """Train on one batch; with no mixed group nothing is updated and the report says so.

        `temperature` is the one that the groups were sampled at. Raises LearnerError where the gradient is not finite;
        the update is then not made.
        """
        tally = _Tally(temperature=temperature)
        with tally.seconds.measuring("pack"):
            objective = self._objective
            mixed = mixed_groups(groups, objective.advantage, selection_weight_cap=objective.selection_weight_cap)
            updates = [self._pack(part) for part in _deal(mixed, self._computation.mini_batches)]
        old = iter(self._old_logprobs(updates, tally)) if len(updates) > 1 else repeat(None)
        for update in updates:
            self._update(update, old, tally)
        tally.add_up(self._ranks)
        return self._report(len(groups), len(mixed), tally)

    def optimiser_tensors(self) -> dict[str, Tensor]:
        """AdamW's state as named tensors, `<parameter>.<moment>`; empty before the first update."""
        return {
            f"{name}.{moment}": self._optimiser.state[parameter][moment]
            for name, parameter in self.model.named_parameters()
            if parameter in self._optimiser.state
            for moment in MOMENTS
        }

    def restore(self, tensors: Mapping[str, Tensor], *, num_updates: int) -> None:
        """Take over AdamW's state as `optimiser_tensors` gave it; raises InvalidCheckpoint where it does not fit."""
        parameters = dict(self.model.named_parameters())
        expected = {f"{name}.{moment}" for name in parameters for moment in MOMENTS} if tensors else set()
        if set(tensors) != expected:
            difference = sorted(set(tensors) ^ expected)
            raise InvalidCheckpoint(f"optimiser state is not this model's: {', '.join(difference[:5])}")
        self._optimiser.state.clear()
        for name, parameter in parameters.items() if tensors else ():
            state = {moment: tensors[f"{name}.{moment}"] for moment in MOMENTS}
            if state["exp_avg"].shape != parameter.shape or state["exp_avg_sq"].shape != parameter.shape:
                raise InvalidCheckpoint(f"optimiser state of {name} has another shape than the parameter")
            # Shapes of the moments are the parameter's, and so is how they are sharded; `step` is a number.
            self._optimiser.state[parameter] = {
                moment: like(value, parameter.detach()) if value.ndim else value.to(self._device, copy=True)
                for moment, value in state.items()
            }
        self.num_updates = num_updates

    def _pack(self, mixed: Sequence[MixedGroup]) -> _Update:
        halves = _deal(mixed, 2 if self._computation.half_batch_cosine else 1)
        num_ranks, max_tokens = self._ranks.size, self._computation.micro_batch_tokens
        planned = [shares(half, num_ranks=num_ranks, max_tokens=max_tokens)[self._ranks.index] for half in halves]
        return _Update(
            halves=[[self._collate(rows) for rows in batches] for batches in planned],
            num_tokens=sum(group.num_tokens for group in mixed),
        )

    def _collate(self, rows: Sequence[Rows]) -> MicroBatch:
        if self._ranks.size == 1:
            return collate(rows, self._device)
        # All ranks gather the model equally often, so none may have completions so short that it needs no second pass.
        return collate(rows, self._device, min_width=IDLE_WIDTH) if rows else idle(self._device)

    @torch.no_grad()
    def _old_logprobs(self, updates: Sequence[_Update], tally: _Tally) -> list[Tensor]:
        """Log-probs before the first update: later updates compare with the policy that began the step."""
        with tally.seconds.measuring("forward"):
            return [self._logprobs(batch, tally.temperature) for update in updates for batch in update.batches]

    def _update(self, update: _Update, old: Iterator[Tensor | None], tally: _Tally) -> None:
        first_half = None
        for half in update.halves:
            if half is not update.halves[0]:
                first_half = FirstHalf(self.model.parameters())
            for batch in half:
                self._accumulate(batch, update.num_tokens, next(old), tally)
        with tally.seconds.measuring("optimise"):
            if first_half is not None and (cosine := first_half.join(self._ranks)) is not None:
                tally.cosines.append(cosine)
            tally.grad_norms.append(self._descend())

    def _accumulate(self, batch: MicroBatch, num_tokens: int, old_logprobs_RT: Tensor | None, tally: _Tally) -> None:
        """Forward and backward of one micro-batch."""
        with tally.seconds.measuring("forward"):
            logprobs_RT = self._logprobs(batch, tally.temperature)
            loss, sums = policy_loss(
                logprobs_RT=logprobs_RT,
                old_logprobs_RT=logprobs_RT if old_logprobs_RT is None else old_logprobs_RT,
                behaviour_logprobs_RT=batch.behaviour_logprobs_RT,
                advantages_R=batch.advantages_R,
                mask_RT=batch.completion_mask_RT,
                num_tokens=num_tokens,
                objective=self._objective,
            )
        with tally.seconds.measuring("backward"):
            torch.autograd.backward(loss)
        tally.count(batch, sums)

    def _descend(self) -> float:
        """Clip, update, and forget the gradients; returns the norm before clipping."""
        parameters = list(self.model.parameters())
        total_norm = whole(get_total_norm(p.grad for p in parameters if p.grad is not None))
        clip_grads_with_norm_(parameters, self._optimisation.grad_clip, total_norm)
        if not math.isfinite(norm := float(total_norm)):
            self._optimiser.zero_grad()
            raise LearnerError(f"the gradient norm is {norm}: the update is not made; look at rewards and log-probs")
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate(self.num_updates)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.num_updates += 1
        return norm

    def _learning_rate(self, num_updates: int) -> float:
        """Of the update that follows `num_updates` others."""
        warmup = self._optimisation.warmup_updates
        return self._optimisation.learning_rate * min(1.0, (num_updates + 1) / (warmup + 1))

    def _logprobs(self, batch: MicroBatch, temperature: float) -> Tensor:
        computation = self._computation
        with torch.autocast(
            self._device.type, dtype=computation.autocast, enabled=computation.autocast != torch.float32
        ):
            return completion_logprobs(self.model, batch, temperature=temperature)

    def _report(self, num_groups: int, num_mixed: int, tally: _Tally) -> StepReport:
        norms = tally.grad_norms
        num_updates = max(len(norms), 1)
        return StepReport(
            num_updates=len(norms),
            num_clipped_updates=sum(norm > self._optimisation.grad_clip for norm in norms),
            num_mixed_groups=num_mixed,
            num_uniform_groups=num_groups - num_mixed,
            num_rows=tally.num_rows,
            num_distinct_rows=tally.num_distinct_rows,
            num_prompt_tokens=tally.num_prompt_tokens,
            grad_norm=sum(norms) / num_updates,
            learning_rate=self._learning_rate(self.num_updates - 1) if norms else 0.0,
            loss=tally.sums.loss / num_updates,
            sums=tally.sums,
            seconds=tally.seconds,
            half_batch_cosine=sum(tally.cosines) / len(tally.cosines) if tally.cosines else None,
        )


def _deal(mixed: Sequence[MixedGroup], num_parts: int) -> list[Sequence[MixedGroup]]:
    """Deal groups out like cards; fewer groups than parts give fewer parts, none of them empty."""
    return [mixed[start::num_parts] for start in range(min(num_parts, len(mixed)))]


def _adamw(model: PreTrainedModel, optimisation: Optimisation) -> torch.optim.AdamW:
    parameters = list(model.parameters())
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": optimisation.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=optimisation.learning_rate,
        fused=True,
    )
