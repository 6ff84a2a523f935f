"""Threads are limited before torch is imported, or not at all."""

import subprocess
import sys

import pytest

from learner.threads import limit_threads
from scheduler.core.errors import LearnerError


def test_torch_takes_the_threads_it_is_given() -> None:
    program = (
        "import os, sys; from learner.threads import limit_threads; limit_threads(1, os.environ)\n"
        "import torch; sys.stdout.write(f\"{torch.get_num_threads()} {os.environ['OMP_WAIT_POLICY']}\")"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1 passive"


def test_limiting_after_torch_is_an_error_because_it_would_do_nothing() -> None:
    import torch

    environ: dict[str, str] = {}
    with pytest.raises(LearnerError, match=torch.__name__):
        limit_threads(1, environ)
    assert environ == {}
