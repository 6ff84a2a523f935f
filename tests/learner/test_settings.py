"""A setting that is unknown or makes no sense never trains with a default."""

from pathlib import Path

import pytest

from learner.settings import FloatFormat, load_settings
from scheduler.core.advantage import AdvantageKind
from scheduler.core.errors import InvalidInput

NEEDED = ["--run-id", "run", "--model-path", "/models/m", "--work-dir", "/work"]


def test_flags_set_values_and_the_rest_are_defaults() -> None:
    settings = load_settings([*NEEDED, "--learning-rate", "0.01", "--advantage", "rloo"], {})
    assert settings.work_dir == Path("/work")
    assert settings.learning_rate == 0.01
    assert settings.advantage is AdvantageKind.RLOO
    assert settings.autocast is settings.publish_format is FloatFormat.AUTO
    assert settings.selection_weight_cap == 1.0
    assert not settings.half_batch_cosine


def test_variables_set_values_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTCOMMIT_LEARNER_GRAD_CLIP", "0.5")
    monkeypatch.setenv("PILOTCOMMIT_LEARNER_MINI_BATCHES", "4")
    settings = load_settings([*NEEDED, "--mini-batches", "2"], {})
    assert (settings.grad_clip, settings.mini_batches) == (0.5, 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "run_id"),
        ([*NEEDED, "--learning-rat", "1"], "learning-rat"),
        ([*NEEDED, "--learning-rate", "-1"], "-1"),
        ([*NEEDED, "--advantage", "gae"], "gae"),
        ([*NEEDED, "--clip-low", "0.3", "--clip-high", "0.2"], r"clip_high \(0\.2\) below clip_low \(0\.3\)"),
        ([*NEEDED, "--metrics-port", "70000"], "70000"),
        ([*NEEDED, "--rank-timeout-s", "0"], "rank_timeout_s"),
        ([*NEEDED, "--selection-weight-cap", "0.5"], "0.5"),
    ],
)
def test_a_wrong_flag_is_refused_with_its_value(flags: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_settings(flags, {})


def test_an_unknown_variable_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="PILOTCOMMIT_LEARNER_LEARNING_RAT") as caught:
        load_settings(NEEDED, {"PILOTCOMMIT_LEARNER_LEARNING_RAT": "1", "PILOTCOMMIT_SERVERS": "x"})
    assert caught.value.field == "PILOTCOMMIT_LEARNER_LEARNING_RAT"
