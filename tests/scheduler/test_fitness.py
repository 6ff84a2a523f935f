"""Which servers can serve this fleet."""

import dataclasses
import json
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from inference.client import ServerClient
from inference.control import ModelInfo, ServerInfo, read_server_info
from inference.fake import FailWith, FakeConfig, FakeServer, create_fake
from inference.interpreter import OLDEST_SGLANG_VERSION
from inference.protocol import ModelLimits
from scheduler.core.errors import ControlFailed
from scheduler.core.lifecycle import ServerState
from scheduler.fleet import ExpectedModel, Fleet
from scheduler.fleet.fitness import fitness, is_older_than_tested

OURS = ExpectedModel(
    folder=Path("/models/ours"),
    model_type="llama",
    architectures=("LlamaForCausalLM",),
    vocab_size=128,
    context_length=2048,
)
LAUNCHED = ServerInfo(model_path="/models/ours", context_length=None, version="0.5.23", instance="1")
OURS_LIMITS = ModelLimits(vocab_size=128, context_length=64)
INFO = ModelInfo(
    model_path="/weights/step-7",
    weight_version="run/7",
    tokenizer_path="/models/ours",
    model_type="llama",
    architectures=("LlamaForCausalLM",),
)


def test_a_server_of_our_model_may_serve_whatever_weights_it_was_given_since() -> None:
    assert OURS.why_not(INFO, LAUNCHED) == ""


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (dataclasses.replace(INFO, model_type="qwen2"), "model type qwen2, /models/ours has llama"),
        (dataclasses.replace(INFO, architectures=("Other",)), "architecture Other, /models/ours has LlamaForCausalLM"),
    ],
)
def test_another_model_is_told_by_what_differs(info: ModelInfo, words: str) -> None:
    assert words in OURS.why_not(info, LAUNCHED)


def test_what_a_server_does_not_say_is_not_held_against_it() -> None:
    silent = dataclasses.replace(INFO, model_type=None, architectures=())
    assert OURS.why_not(silent, dataclasses.replace(LAUNCHED, context_length=512)) == ""


def test_another_vocabulary_is_found_where_this_host_sees_the_model(tmp_path: Path) -> None:
    """A token id beyond it would kill the server."""
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 64, "max_position_embeddings": 2048}))
    launched = dataclasses.replace(LAUNCHED, model_path=str(tmp_path))
    assert "vocabulary 64, /models/ours has 128" in OURS.why_not(INFO, launched)


def test_the_expected_model_is_read_from_its_folder(model_folder: Path) -> None:
    read = ExpectedModel.read(model_folder)
    assert (read.vocab_size, read.context_length) == (128, 2048)
    assert read.model_type == json.loads((model_folder / "config.json").read_text())["model_type"]


@pytest.mark.parametrize(
    ("version", "older"),
    [
        ("0.5.21", True),
        ("0.5.9.post1", True),
        ("0.5.22", False),
        ("0.5.22rc1", False),
        ("0.5.100", False),
        ("1.0.0", False),
        ("", False),
        ("main-2f1a", False),
    ],
)
def test_a_version_older_than_the_contract_suite_passes_with_is_told(version: str, older: bool) -> None:
    assert is_older_than_tested(version) is older


async def test_a_server_older_than_tested_is_let_in_with_a_warning() -> None:
    client = ServerClient(
        "http://old", OURS_LIMITS, transport=httpx.ASGITransport(create_fake(FakeServer(FakeConfig(version="0.5.21"))))
    )
    with capture_logs() as logs:
        found = await fitness(client, None, [])
    assert found.unfit == ""
    assert [(line["theirs"], line["oldest"]) for line in logs if line["event"] == "server_older_than_tested"] == [
        ("0.5.21", OLDEST_SGLANG_VERSION)
    ]
    await client.aclose()


def test_an_answer_with_keys_in_it_is_never_repeated() -> None:
    with pytest.raises(ControlFailed) as unreadable:
        read_server_info(b'{"api_key": "hunter2", "context_length": "long"}')
    assert "hunter2" not in str(unreadable.value)


@pytest.mark.parametrize("said", [True, False], ids=["it says so", "it does not say"])
async def test_a_server_of_another_model_stays_stale_and_says_why(said: bool) -> None:
    fake = FakeServer(FakeConfig(model_type="qwen2"))
    if not said:
        fake.faults.order("/server_info", FailWith(status=500), count=100)
    client = ServerClient("http://fake", OURS_LIMITS, transport=httpx.ASGITransport(create_fake(fake)))
    fleet = Fleet([client], model=OURS)
    await fleet.set_state(fleet.servers[0], ServerState.STALE)
    await fleet.share_for("run").take_over()
    assert fleet.servers[0].takes_weights is not said
    assert ("it serves another model" in fleet.view()[0].reason) is said
    await fleet.aclose()
