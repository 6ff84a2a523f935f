"""A setting that cannot work, or that nobody knows, stops the start with its name and its value."""

from pathlib import Path

import pytest

from scheduler.core.errors import InvalidInput
from scheduler.core.imports import Importable
from scheduler.core.rate import Rate
from scheduler.core.reachable import LOCAL, Reachable
from scheduler.rewards.isolation import Confinement, IsolationMode
from scheduler.settings import EMBEDDED, PREFIX, Settings, load_settings
from scheduler.token_file import TokenFile
from tests.certificates import Authority


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text("{}")
    return str(tmp_path)


def _load(model: str, **settings: str) -> Settings:
    return load_settings({f"{PREFIX}{name}": value for name, value in {"MODEL": model, **settings}.items()})


def test_only_the_model_has_to_be_named(model: str) -> None:
    settings = _load(model)
    assert (settings.model, settings.servers, settings.redis_url) == (Path(model), (), EMBEDDED)


def test_nothing_listens_beyond_this_machine_unless_told_to(model: str) -> None:
    assert _load(model).host == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "scheduler"])
def test_beyond_this_machine_there_are_tokens_or_it_is_said_that_there_are_none(
    model: str, tmp_path: Path, host: str
) -> None:
    with pytest.raises(InvalidInput, match=f"PILOTCOMMIT_HOST is '{host}' and there are no tokens"):
        _load(model, HOST=host)
    assert _load(model, HOST=host, ALLOW_ANONYMOUS="true").host == host
    file = tmp_path / "tokens.ndjson"
    TokenFile(file).create("ci", [])
    assert _load(model, HOST=host, TOKENS_FILE=str(file)).tokens_file == file


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_on_this_machine_no_tokens_are_needed(model: str, host: str) -> None:
    assert _load(model, HOST=host).tokens_file is None


def test_the_command_lines_token_is_known_and_a_misspelt_token_file_is_not(model: str) -> None:
    assert load_settings({f"{PREFIX}MODEL": model, f"{PREFIX}TOKEN": "t"}).tokens_file is None
    with pytest.raises(InvalidInput, match="PILOTCOMMIT_TOKENS_FILES"):
        _load(model, TOKENS_FILES="x")


def test_servers_are_separated_by_commas_and_a_closing_slash_is_no_matter(model: str) -> None:
    assert _load(model, SERVERS="http://a:1/, https://b:2").servers == ("http://a:1", "https://b:2")


def test_a_level_is_known_in_any_case(model: str) -> None:
    assert _load(model, LOG_LEVEL="warning").log_level == "WARNING"


def test_variables_of_our_other_processes_are_none_of_its_business(model: str) -> None:
    environ = {f"{PREFIX}{name}": "x" for name in ("LEARNER_RUN_ID", "URL", "CACHE", "SGLANG_PYTHON", "FAULT")}
    assert load_settings({"HOME": "/", f"{PREFIX}MODEL": model, **environ}).model == Path(model)


def test_an_unknown_variable_is_named_with_those_that_are_known(model: str) -> None:
    with pytest.raises(InvalidInput, match=r"PILOTCOMMIT_SERVER;.*PILOTCOMMIT_SERVERS") as refusal:
        _load(model, SERVER="http://a")
    assert refusal.value.field == "PILOTCOMMIT_SERVER"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InvalidInput, match="PILOTCOMMIT_MODEL is missing"):
        load_settings({})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "65536", "65535"),
        ("PORT", "http", "integer"),
        ("SERVERS", "localhost:30000", "http://127.0.0.1:30000"),
        ("SERVERS", "http://", "http://127.0.0.1:30000"),
        ("SERVERS", "http://a,http://a/", "twice"),
        ("SERVERS", "http://u:p@a", "PILOTCOMMIT_API_KEY"),
        ("ROLL_OUT", "slowly", "'rolling'"),
        ("ROLL_OUT_SHARE", "2", "less than or equal to 1"),
        ("PATH_MAP", "/runs=/mnt/runs", "LEARNER=SCHEDULER=SERVER"),
        ("PATH_MAP", "/a=/b=/c,/a=/d=/e", "mapped twice"),
        ("REDIS_URL", "localhost:6379", "redis://127.0.0.1:6379/0"),
        ("REDIS_URL", "redis://a:26379,b:26379/0", "one Redis holds every key"),
        ("REDIS_URL", "redis+sentinel://a:26379/primary", "one Redis holds every key"),
        ("LOG_LEVEL", "loud", "'INFO'"),
        ("MAX_IN_FLIGHT", "0", "1"),
        ("NUM_REWARD_WORKERS", "-1", "1"),
        ("LEASE_TTL_S", "0", "greater than 0"),
        ("STALL_S", "nan", "finite"),
        ("HEARTBEAT_S", "-1", "greater than 0"),
        ("MODEL", "/", "config.json"),
        ("RATE_PER_S", "-1", "greater than or equal to 0"),
        ("REACHABLE", "10.0.0.1/8", "10.0.0.0/8"),
        ("REWARD_ISOLATION", "strict", "'required', 'best_effort' or 'off'"),
        ("REWARD_MEMORY_MIB", "8", "256"),
        ("SERVERS_FILE", "/nowhere", "/nowhere cannot be read: No such file"),
        ("TOKENS_FILE", "/nowhere", "pilotcommit token create NAME --file /nowhere"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_what_would(model: str, name: str, value: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        _load(model, **{name: value})
    assert refusal.value.field == f"PILOTCOMMIT_{name}"
    assert f"PILOTCOMMIT_{name} is {value!r}" in str(refusal.value)
    assert words in str(refusal.value)


def test_every_fault_is_told_at_once(model: str) -> None:
    with pytest.raises(InvalidInput, match=r"PILOTCOMMIT_PORT is 'x'.*; PILOTCOMMIT_PILOT_CAP is '0'"):
        _load(model, PORT="x", PILOT_CAP="0")


def test_with_tokens_nothing_is_imported_that_is_not_listed(model: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.ndjson"
    TokenFile(file).create("ci", [])
    assert _load(model).imports == Importable()
    assert _load(model, TOKENS_FILE=str(file)).imports == Importable(modules=())
    listed = _load(model, TOKENS_FILE=str(file), IMPORTABLE="rules, my.rewards")
    assert listed.imports == Importable(modules=("rules", "my.rewards"))


def test_rewards_are_shut_in_as_the_settings_say(model: str) -> None:
    assert _load(model).confinement == Confinement()
    settings = {"ISOLATION": "required", "USER": "judge", "PROCESSES": "true", "MEMORY_MIB": "512", "FILE_MIB": "1"}
    chosen = _load(model, REWARD_ENVIRONMENT="A, B", **{f"REWARD_{name}": settings[name] for name in settings})
    assert chosen.confinement == Confinement(
        mode=IsolationMode.REQUIRED,
        user="judge",
        may_start_processes=True,
        memory_bytes=512 << 20,
        file_bytes=1 << 20,
        environment=("A", "B"),
    )


def test_how_often_one_may_ask_can_be_changed_and_switched_off(model: str) -> None:
    assert _load(model).rate == Rate(per_s=100.0, burst=2000.0)
    assert _load(model, RATE_PER_S="0").rate is None
    assert _load(model, RATE_PER_S="0.01").rate == Rate(per_s=0.01, burst=1.0)


def test_with_tokens_no_server_is_named_over_the_api_that_is_not_listed(model: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.ndjson"
    TokenFile(file).create("ci", [])
    assert _load(model).destinations == Reachable.of(LOCAL)
    assert _load(model, TOKENS_FILE=str(file)).destinations == Reachable()
    listed = _load(model, TOKENS_FILE=str(file), REACHABLE="10.1.0.0/16, sglang.internal")
    assert listed.destinations == Reachable.of(("10.1.0.0/16", "sglang.internal"))


def test_folders_of_weights_are_separated_by_commas(model: str) -> None:
    assert _load(model).weight_roots is None
    assert _load(model, WEIGHT_ROOTS="/runs/, /").weight_roots == (Path("/runs"), Path("/"))


def test_certificates_are_looked_at_before_anything_starts(model: str, tmp_path: Path) -> None:
    identity = Authority(tmp_path / "authority").issue("localhost")
    cert, key = str(identity.cert_file), str(identity.key_file)
    assert _load(model, TLS_CERT_FILE=cert, TLS_KEY_FILE=key).tls_cert_file == identity.cert_file
    for wrong in ({"TLS_KEY_FILE": key}, {"SERVER_CA_FILE": key + ".absent"}, {"TLS_CLIENT_CA_FILE": cert}):
        with pytest.raises(InvalidInput, match=r"no certificate|cannot be read|the API has none"):
            _load(model, **wrong)


def test_reward_servers_are_listed_and_asked_as_the_settings_say(model: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of-the-judge\n")
    settings = _load(
        model,
        REWARD_SERVERS="https://Judge.example:443/x/, http://127.0.0.1:9000",
        REWARD_SERVER_API_KEY_FILE=str(tmp_path / "key"),
        REWARD_SERVER_BATCH="10",
        REWARD_SERVER_TRIES="1",
    )
    assert settings.reward_servers == ("https://judge.example/x", "http://127.0.0.1:9000")
    assert settings.reward_server_api_key is not None
    assert settings.reward_server_api_key.get_secret_value() == "of-the-judge"
    assert "of-the-judge" not in repr(settings)
    assert (settings.reward_server_terms.batch, settings.reward_server_terms.tries) == (10, 1)
