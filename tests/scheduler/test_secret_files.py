"""A secret may be in a file, and is in no error."""

from pathlib import Path

import pytest

from learner import settings as learner
from scheduler.core.errors import InvalidInput
from scheduler.secret_files import with_secrets
from scheduler.settings import load_settings

CANARY = "canary-3141592653"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{CANARY}\n")
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_a_secret_is_read_from_its_file_without_the_end_of_its_line(secret: Path) -> None:
    assert with_secrets({"KEY_FILE": str(secret), "OTHER_FILE": "x"}, ["KEY"]) == {"KEY": CANARY, "OTHER_FILE": "x"}
    assert with_secrets({"KEY": "k"}, ["KEY"]) == {"KEY": "k"}


def test_a_secret_is_given_once(secret: Path) -> None:
    with pytest.raises(InvalidInput, match="KEY and KEY_FILE are both set") as refusal:
        with_secrets({"KEY": CANARY, "KEY_FILE": str(secret)}, ["KEY"])
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize(("content", "why"), [(b"", "no secret"), (b"\n", "no secret"), (b"\xff", "not text")])
def test_a_file_without_a_secret_is_refused_by_name(secret: Path, content: bytes, why: str) -> None:
    secret.write_bytes(content)
    with pytest.raises(InvalidInput, match=why) as refusal:
        with_secrets({"KEY_FILE": str(secret)}, ["KEY"])
    assert refusal.value.field == "KEY_FILE"


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        with_secrets({"KEY_FILE": str(tmp_path / "absent")}, ["KEY"])


def test_every_secret_of_the_scheduler_may_be_in_a_file(model: Path, secret: Path, tmp_path: Path) -> None:
    redis = tmp_path / "redis"
    redis.write_text(f"redis://:{CANARY}@host:6379/0")
    settings = load_settings(
        {
            "PILOTCOMMIT_MODEL": str(model),
            "PILOTCOMMIT_API_KEY_FILE": str(secret),
            "PILOTCOMMIT_ADMIN_API_KEY_FILE": str(secret),
            "PILOTCOMMIT_REDIS_URL_FILE": str(redis),
        }
    )
    assert settings.api_key is not None
    assert settings.admin_api_key is not None
    assert settings.api_key.get_secret_value() == settings.admin_api_key.get_secret_value() == CANARY
    assert settings.redis_url == f"redis://:{CANARY}@host:6379/0"
    assert CANARY not in repr(settings)
    assert CANARY not in str(settings)


def test_a_learners_token_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, secret: Path, tmp_path: Path) -> None:
    environ = {
        "PILOTCOMMIT_LEARNER_RUN_ID": "run",
        "PILOTCOMMIT_LEARNER_MODEL_PATH": str(tmp_path),
        "PILOTCOMMIT_LEARNER_WORK_DIR": str(tmp_path),
        "PILOTCOMMIT_LEARNER_TOKEN_FILE": str(secret),
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = learner.load_settings([], environ)
    assert settings.token is not None
    assert settings.token.get_secret_value() == CANARY
    assert CANARY not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("API_KEY", f"{CANARY} with a space"), ("ADMIN_API_KEY", f"{CANARY}é"), ("REDIS_URL", f"http://:{CANARY}@host")],
)
def test_a_secret_that_cannot_work_is_refused_without_being_told(model: Path, name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=f"PILOTCOMMIT_{name} is ") as refusal:
        load_settings({"PILOTCOMMIT_MODEL": str(model), f"PILOTCOMMIT_{name}": value})
    assert CANARY not in str(refusal.value)
