"""Servers to start."""

import sys
from pathlib import Path

import pytest

from inference.launch import ServerSpec
from scheduler.ports import free_port


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """An interpreter that runs the stand-in, whatever it is told to run."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("stand_in.py")} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    """A server on a free port."""
    return ServerSpec(model_path=tmp_path / "model", port=free_port())
