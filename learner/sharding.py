"""A policy cut into shards, one for each rank (FSDP2), and where each shard lies in the whole.

Owns: which modules are gathered together, in which type, how gradients add up, and the arithmetic of shards. Never
moves a tensor itself. Invariant: a rank's shard of a tensor is a range of its rows, so a range of its elements in
memory and in a file; gradients are summed over ranks and never averaged, because each rank's loss is already divided by
the tokens of all.
"""

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import LayerNorm
from transformers import PreTrainedModel

from learner.ranks import Ranks
from scheduler.core.errors import LearnerError


def shard(model: PreTrainedModel, mesh: DeviceMesh, *, autocast: torch.dtype) -> None:
    """Cut `model` in place: each decoder layer is gathered by itself while it computes, the rest with the root.

    Layers are gathered in the `autocast` type, in which their matrices are multiplied anyhow: half the traffic, and no
    whole copy of the model is kept in that type until the backward pass. Their norms' weights are rounded to it too, as
    the servers have them; torch's own LayerNorm wants weights of its input's type, and a layer with one is gathered in
    float32. Raises LearnerError where transformers does not say what a layer is.
    """
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise LearnerError(f"{type(model).__name__} does not say which of its modules are layers: it cannot be sharded")
    # Activations stay as autocast makes them on one rank: the residual stream in float32.
    plain = MixedPrecisionPolicy(cast_forward_inputs=False)
    narrow = MixedPrecisionPolicy(param_dtype=autocast, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in layers:
        is_narrow = autocast != torch.float32 and not any(isinstance(module, LayerNorm) for module in layer.modules())
        fully_shard(layer, mesh=mesh, mp_policy=narrow if is_narrow else plain)
    fully_shard(model, mesh=mesh, mp_policy=plain)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            # gloo has no scaled sum, not even by one.
            module.set_force_sum_reduction_for_comms(True)


def is_sharded(tensor: Tensor) -> bool:
    """Whether every rank has a part of it; other tensors are whole on each rank."""
    return isinstance(tensor, DTensor)


def own(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor: its shard, or the whole of one that is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A small tensor, gathered on every rank."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, pattern: Tensor) -> Tensor:
    """A copy of this rank's part of `value`, whole and the same on every rank, where and as `pattern` is."""
    if not isinstance(pattern, DTensor):
        return value.to(pattern.device, copy=True)
    # Each rank cuts its own part; nothing is sent. The part is copied, so that the whole can go.
    part = distribute_tensor(value, pattern.device_mesh, pattern.placements, src_data_rank=None)
    return DTensor.from_local(
        part.to_local().to(pattern.to_local().device, copy=True),
        pattern.device_mesh,
        pattern.placements,
        run_check=False,
        shape=pattern.shape,
        stride=pattern.stride(),
    )


def span(tensor: Tensor, index: int, ranks: Ranks) -> range:
    """Which elements of a sharded tensor rank `index` holds, counted in its memory order.

    Rows are dealt as `torch.chunk` does: as many to each as fit the size rounded up, so the last have fewer or none.
    """
    num_rows = tensor.shape[0]
    row = tensor.numel() // num_rows
    rows_each = -(-num_rows // ranks.size)
    first, last = (min(place * rows_each, num_rows) for place in (index, index + 1))
    return range(first * row, last * row)
