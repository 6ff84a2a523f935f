"""One tiny checkpoint for all learner tests, and fresh policies read from it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Before torch is imported: two spinning OpenMP threads on a busy machine make every test ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import PreTrainedModel

from learner.model_files import load_model
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint directory; tests must not write into it."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def fresh_policy(tiny_checkpoint: Path) -> Callable[[], PreTrainedModel]:
    """Each call gives an own model with the same weights."""
    return lambda: load_model(tiny_checkpoint, torch.device("cpu"))
