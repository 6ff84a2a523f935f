"""Prometheus, where it can be had; and a run that it has watched, for the questions of all tests."""

import asyncio
from collections.abc import Iterator

import pytest

from deploy.prometheus.install import HOW, Prometheus, find
from tests.deploy.watched_run import WatchedRun, watch


@pytest.fixture(scope="session")
def prometheus() -> Prometheus:
    """Its two programs; skips the test where they are not."""
    found = find()
    if found is None:
        pytest.skip(f"no Prometheus: run `make setup-prometheus`, or {HOW}")
    return found


@pytest.fixture(scope="session")
def watched(prometheus: Prometheus, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedRun]:
    """A whole run as Prometheus saw it, which still answers."""
    with asyncio.Runner() as runner:
        watching = watch(prometheus, redis_url, tmp_path_factory.mktemp("watched"))
        yield runner.run(watching.__aenter__())
        runner.run(watching.__aexit__(None, None, None))
