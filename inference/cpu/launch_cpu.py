"""Starts SGLang on a machine without a GPU; run by SGLang's own interpreter, never imported by ours.

SGLang runs as it is installed, but for how a CPU attends (attention_backend). The CUDA build of torchvision cannot load
its operators beside a CPU torch, yet transformers imports its Python layer, which decorates two of them. Declaring
their schemas is all that import needs: they are never called here.
"""

import contextlib
import runpy

import torch

_torchvision = torch.library.Library("torchvision", "FRAGMENT")


def _declare_operators() -> None:
    for name in ("nms", "qnms"):
        # A torchvision that loaded its own operators has declared them already.
        with contextlib.suppress(RuntimeError):
            _torchvision.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_declare_operators()

# SGLang's children are spawned: each imports this file again, under another name, and needs both too.
import attention_backend  # noqa: E402, F401 it imports transformers

if __name__ == "__main__":
    runpy.run_module("sglang.launch_server", run_name="__main__")
