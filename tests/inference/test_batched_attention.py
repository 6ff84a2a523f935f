"""The CPU servers' attention against attending one sequence after another."""

import importlib.util
import math
from types import ModuleType

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from inference.launch import CPU_FOLDER


def loaded() -> ModuleType:
    """The module as SGLang's interpreter finds it: by its folder, not as part of a package."""
    spec = importlib.util.spec_from_file_location("batched_attention", CPU_FOLDER / "batched_attention.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


batched = loaded()

HEADS, GROUPS, SIZE = 6, 2, 8
FRESH = [(5, 5), (31, 31), (1, 1), (90, 90)]
"""(queries, keys) per sequence."""
CACHED = [(1, 44), (1, 45), (7, 100), (1, 3), (12, 40)]
DECODE = [(1, keys) for keys in (1, 2, 33, 64, 65, 200)]


def one_by_one(
    sizes: list[tuple[int, int]],
    requests: torch.Tensor,
    slots: torch.Tensor,
    query: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
) -> torch.Tensor:
    rows, outputs = 0, []
    for (queries, keys), request in zip(sizes, requests.tolist(), strict=True):
        places = slots[request, :keys].long()
        q = query[rows : rows + queries].transpose(0, 1)
        k, v = (cache[places].transpose(0, 1).repeat_interleave(HEADS // GROUPS, 0) for cache in (k_cache, v_cache))
        mask = torch.arange(keys) <= torch.arange(keys - queries, keys)[:, None]
        outputs.append(scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1))
        rows += queries
    return torch.cat(outputs)


@pytest.mark.parametrize("max_pairs", [1 << 22, 64])
@pytest.mark.parametrize("sizes", [FRESH, CACHED, DECODE, FRESH + CACHED + DECODE])
def test_a_batch_is_attended_as_its_sequences_are(
    sizes: list[tuple[int, int]], max_pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched, "_MAX_PAIRS", max_pairs)
    generator = torch.Generator().manual_seed(len(sizes))
    num_slots = sum(keys for _, keys in sizes) + 10
    requests = torch.randperm(len(sizes) + 3, generator=generator)[: len(sizes)]
    slots = torch.full((len(sizes) + 3, 256), num_slots - 1, dtype=torch.int32)
    free = torch.randperm(num_slots - 1, generator=generator).tolist()
    for (_, keys), request in zip(sizes, requests.tolist(), strict=True):
        slots[request, :keys] = torch.tensor([free.pop() for _ in range(keys)])
    k_cache, v_cache = torch.randn(2, num_slots, GROUPS, SIZE, generator=generator, dtype=torch.float64)
    # What no sequence holds may be anything: not even a NaN there may reach a result.
    k_cache[num_slots - 1] = v_cache[num_slots - 1] = math.nan
    query = torch.randn(sum(q for q, _ in sizes), HEADS, SIZE, generator=generator, dtype=torch.float64)
    output = torch.full_like(query, math.nan)
    chunks = batched.cut([q for q, _ in sizes], [k for _, k in sizes], requests, slots)
    batched.attend(chunks, query, output, k_cache, v_cache, SIZE**-0.5)
    torch.testing.assert_close(output, one_by_one(sizes, requests, slots, query, k_cache, v_cache))


def test_sequences_of_one_length_make_one_chunk() -> None:
    chunks = batched.cut([1] * 200, [44 + i % 8 for i in range(200)], torch.arange(200), torch.zeros(200, 64))
    assert len(chunks) == 1
    assert chunks[0].slots.shape == (200, 51)
