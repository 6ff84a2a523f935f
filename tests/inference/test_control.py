import msgspec
import pytest

from inference.control import Load, WeightsUpdate, read_checksum, read_loads, read_model_info, read_update
from scheduler.core.errors import ControlFailed


def reply(success: bool, message: str) -> bytes:
    return msgspec.json.encode({"success": success, "message": message, "num_paused_requests": 0})


def test_a_successful_update_is_applied() -> None:
    assert read_update(200, reply(True, "Succeeded to update model weights.")) is WeightsUpdate.APPLIED


def test_weights_that_were_replaced_are_never_reported_as_kept() -> None:
    body = reply(False, "Weights were updated, but the cache was not flushed because requests are still running.")
    assert read_update(400, body) is WeightsUpdate.APPLIED_NOT_FLUSHED


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, reply(False, "Failed to get weights iterator")),
        (500, b"Internal Server Error"),
        (200, reply(False, "no")),
        (200, b""),
    ],
)
def test_an_update_that_did_not_happen_fails(status: int, body: bytes) -> None:
    with pytest.raises(ControlFailed):
        read_update(status, body)


def test_the_load_is_summed_over_ranks() -> None:
    rank = {"num_running_reqs": 2, "num_waiting_reqs": 1, "max_running_requests": 4}
    body = msgspec.json.encode({"loads": [rank | {"token_usage": 0.1}, rank | {"token_usage": 0.7}]})
    assert read_loads(body) == Load(num_running=4, num_waiting=2, max_running=8, token_usage=0.7)


def test_a_report_without_a_version_is_a_failure() -> None:
    with pytest.raises(ControlFailed, match="weight_version"):
        read_model_info(b'{"model_path": "m"}')


def test_a_checksum_that_could_not_be_made_is_a_failure() -> None:
    with pytest.raises(ControlFailed, match="quantised"):
        read_checksum(200, b'{"success": false, "message": "quantised"}')
    with pytest.raises(ControlFailed, match="answered 400: out of memory"):
        read_checksum(400, b'{"success": false, "message": "out of memory"}')


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b'{"detail": "Not Found"}'),
        (400, b'{"success": false, "message": "Torch not compiled with CUDA enabled"}'),
    ],
    ids=["no such route", "0.5.22 on a CPU"],
)
def test_a_server_that_has_no_way_to_tell_has_no_checksum(status: int, body: bytes) -> None:
    assert read_checksum(status, body) is None
