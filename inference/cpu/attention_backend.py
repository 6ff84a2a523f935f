"""SGLang's torch_native attention backend with the batch attended together; imported inside SGLang only.

SGLang 0.5.23 attends one sequence after another in every layer: with short sequences that loop is half of a server's
time. What else it can do (cross-attention, sliding windows) is left to it.
"""

from typing import Any

import torch
from batched_attention import attend, cut
from sglang.srt.layers.attention.attention_registry import register_attention_backend
from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend


class BatchedAttnBackend(TorchNativeAttnBackend):
    """Cuts a batch once and attends it in every layer."""

    def init_forward_metadata(self, forward_batch: Any) -> None:
        """Called by SGLang before the first layer."""
        super().init_forward_metadata(forward_batch)
        num_keys = forward_batch.seq_lens.tolist()
        extends = forward_batch.forward_mode.is_extend()
        num_queries = forward_batch.extend_seq_lens.tolist() if extends else [1] * len(num_keys)
        slots = self.req_to_token_pool.req_to_token
        self._chunks = cut(num_queries, num_keys, forward_batch.req_pool_indices, slots)

    def _run_sdpa_forward_extend(
        self,
        query: torch.Tensor,
        output: torch.Tensor,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        *rest: Any,
        causal: bool = False,
        sliding_window_size: int | None = None,
        scaling: float | None = None,
        **options: Any,
    ) -> None:
        if causal and sliding_window_size is None:
            attend(self._chunks, query, output, k_cache, v_cache, scaling)
        else:
            options |= {"causal": causal, "sliding_window_size": sliding_window_size, "scaling": scaling}
            super()._run_sdpa_forward_extend(query, output, k_cache, v_cache, *rest, **options)

    def _run_sdpa_forward_decode(
        self,
        query: torch.Tensor,
        output: torch.Tensor,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        *rest: Any,
        is_cross_attn: bool = False,
        sliding_window_size: int | None = None,
        scaling: float | None = None,
        **options: Any,
    ) -> None:
        if not is_cross_attn and sliding_window_size is None:
            attend(self._chunks, query, output, k_cache, v_cache, scaling)
        else:
            options |= {"is_cross_attn": is_cross_attn, "sliding_window_size": sliding_window_size, "scaling": scaling}
            super()._run_sdpa_forward_decode(query, output, k_cache, v_cache, *rest, **options)


@register_attention_backend("torch_native")
def _create(runner: Any) -> BatchedAttnBackend:
    return BatchedAttnBackend(runner)
