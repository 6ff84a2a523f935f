"""The short chaos run: a little of everything, against real processes."""

from pathlib import Path

import pytest

from scheduler.core.lifecycle import ENDED
from tests.chaos.campaign import ChaosOptions, campaign
from tests.chaos.plan import FaultKind
from tests.tiny_model import write_tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

SEED, DURATION_S, PER_KIND = 20, 30.0, 2


async def test_nothing_is_lost_trained_twice_or_overspent_whatever_goes_wrong(tmp_path: Path) -> None:
    options = ChaosOptions(
        seed=SEED,
        duration_s=DURATION_S,
        per_kind=PER_KIND,
        is_real=False,
        folder=tmp_path,
        model=write_tiny_model(tmp_path / "model", seed=3),
        # Before pytest ends it without a word of what happened.
        end_within_s=200.0,
    )
    said: list[str] = []
    outcome = await campaign(options, say=said.append)
    assert outcome.violations == [], said
    assert set(outcome.struck) == set(FaultKind), (outcome.missed, said)
    assert outcome.runs
    assert all(run.state in ENDED and run.num_served for run in outcome.runs), said
