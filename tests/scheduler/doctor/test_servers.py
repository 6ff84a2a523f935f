"""Servers are judged as the fleet judges them, and nothing of them is changed."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from inference.fake import FailWith, FakeConfig, FakeServer, create_fake
from scheduler.doctor.finding import Finding, Level
from scheduler.doctor.patient import Patient, settings_finding
from scheduler.doctor.servers import servers
from tests.scheduler.served import listening


async def examined(
    fake: FakeServer, model: Path, environ: Mapping[str, str] = {}, *, twice: bool = False
) -> list[Finding]:
    async with listening(create_fake(fake)) as url:
        named = [url, url.replace("127.0.0.1", "localhost")] if twice else [url]
        return await servers(Patient.of(environ, url="http://127.0.0.1:1", model=model, servers=named))


async def test_a_sound_server_is_in_order_and_left_as_it_was(model_folder: Path) -> None:
    fake = FakeServer(FakeConfig(model_path=str(model_folder)))
    [found] = await examined(fake, model_folder)
    assert found.level is Level.OK
    assert "SGLang 0.5.23" in found.said
    assert fake.paused is None


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"version": "0.5.21"}, Level.PROBLEM, "0.5.21 is older"),
        ({"version": ""}, Level.WARNING, "does not say its version"),
        ({"model_type": "qwen2"}, Level.PROBLEM, "another model"),
        ({"dtype": "float16"}, Level.WARNING, "it computes in float16, the model is written in float32"),
        ({"tokenizer": lambda text: [7] * len(text)}, Level.PROBLEM, "its tokenizer is another one"),
        ({"api_key": "user"}, Level.PROBLEM, "another key"),
        ({"api_key": None, "admin_api_key": "admin"}, Level.PROBLEM, "control plane refuses"),
    ],
)
async def test_what_would_fail_later_is_said_now(
    model_folder: Path, change: dict[str, object], level: Level, words: str
) -> None:
    fake = FakeServer(FakeConfig(model_path=str(model_folder), **change))  # type: ignore[arg-type]
    found = await examined(fake, model_folder)
    assert any(one.level is level and words in one.said for one in found), found


async def test_keys_that_fit_are_taken(model_folder: Path) -> None:
    fake = FakeServer(FakeConfig(model_path=str(model_folder), api_key="user", admin_api_key="admin"))
    keys = {"PILOTCOMMIT_API_KEY": "user", "PILOTCOMMIT_ADMIN_API_KEY": "admin"}
    assert [found.level for found in await examined(fake, model_folder, keys)] == [Level.OK]


async def test_a_server_that_does_not_say_its_calls_may_be_well(model_folder: Path) -> None:
    fake = FakeServer(FakeConfig(model_path=str(model_folder)))
    fake.faults.order("/openapi.json", FailWith(status=404), count=1)
    [found] = await examined(fake, model_folder)
    assert (found.level, "DISABLE_OPENAPI_DOC" in found.said) == (Level.WARNING, True)


async def test_two_addresses_of_one_process_are_told(model_folder: Path) -> None:
    found = await examined(FakeServer(FakeConfig(model_path=str(model_folder))), model_folder, twice=True)
    assert any("the same process" in one.said and one.level is Level.PROBLEM for one in found)


async def test_a_server_that_is_away_is_a_problem(model_folder: Path) -> None:
    patient = Patient.of({}, url="http://127.0.0.1:1", model=model_folder, servers=["http://127.0.0.1:1"])
    [found] = await servers(patient)
    assert (found.level, found.check) == (Level.PROBLEM, "server http://127.0.0.1:1")


async def test_no_server_and_no_model_are_said(tmp_path: Path) -> None:
    assert [one.level for one in await servers(Patient.of({}, url="http://h"))] == [Level.WARNING]
    nowhere = Patient.of({}, url="http://h", model=tmp_path, servers=["http://127.0.0.1:1"])
    assert settings_finding(nowhere).level is Level.PROBLEM
    assert [one.check for one in await servers(nowhere)] == ["server http://127.0.0.1:1"]


async def test_a_key_in_the_file_of_servers_is_taken(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("user")
    fake = FakeServer(FakeConfig(model_path=str(model_folder), api_key="user"))
    async with listening(create_fake(fake)) as url:
        file = tmp_path / "servers.toml"
        file.write_text(f'["{url}"]\napi_key_file = "{tmp_path / "key"}"\n')
        environ = {"PILOTCOMMIT_SERVERS_FILE": str(file)}
        [found] = await servers(Patient.of(environ, url="http://127.0.0.1:1", model=model_folder, servers=[url]))
    assert found.level is Level.OK, found
