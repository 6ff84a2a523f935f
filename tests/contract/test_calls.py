"""The calls that the client makes are a closed set, and the suite makes each of them.

SGLang has others that kill a busy server (/release_memory_occupation, weights sent by value), abort what runs
(/update_weight_version) or lose requests (n above 1): none of them is ever sent.
"""

import re
from pathlib import Path

import msgspec
import pytest

from inference.protocol import GenerateRequest, generate_body
from scheduler.core.types import Sampling

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "inference"
MADE_BY = {
    "/abort_request": "test_generation.py::test_a_running_attempt_can_be_aborted_and_says_what_it_had_generated",
    "/begin_weight_update": "test_broadcast.py::test_a_broadcast_gives_the_same_weights_as_the_disk_does",
    "/continue_generation": "test_weights.py::test_pausing_and_resuming_twice_is_as_good_as_once",
    "/destroy_weights_update_group": "test_broadcast.py::test_a_broadcast_gives_the_same_weights_as_the_disk_does",
    "/end_weight_update": "test_broadcast.py::test_a_broadcast_gives_the_same_weights_as_the_disk_does",
    "/flush_cache": "test_weights.py::test_the_cache_cannot_be_flushed_while_a_request_runs",
    "/generate": "test_generation.py::test_a_completion_carries_tokens_logprobs_and_the_version_behind_them",
    "/hicache/storage-backend": "test_shapes.py::test_whether_the_control_plane_takes_a_key_is_found_out_by_reading",
    "/init_weights_update_group": "test_broadcast.py::test_a_broadcast_gives_the_same_weights_as_the_disk_does",
    "/model_info": "test_weights.py::test_model_info_names_the_new_path_and_version_after_an_update",
    "/openapi.json": "test_shapes.py::test_a_server_says_which_calls_it_answers_and_has_those_that_give_it_weights",
    "/pause_generation": "test_weights.py::test_pausing_and_resuming_twice_is_as_good_as_once",
    "/ready": "test_shapes.py::test_readiness_is_open_to_everybody",
    "/server_info": "test_weights.py::test_a_process_is_told_apart_by_how_it_was_launched",
    "/update_weights_from_disk": "test_weights.py::test_an_update_answers_as_recorded",
    "/update_weights_from_distributed": "test_broadcast.py::test_a_broadcast_gives_the_same_weights_as_the_disk_does",
    "/v1/tokenize": "test_attachment.py::test_a_server_says_what_its_tokenizer_makes_of_texts",
    "/workers": "test_attachment.py::test_a_server_says_what_it_computes_in_and_is_no_gateway",
    "/v1/loads": "test_shapes.py::test_a_report_has_the_recorded_fields_and_the_fake_invents_none",
    "/weights_checker": "test_weights.py::test_a_checksum_tells_weights_apart",
}


def test_the_client_makes_these_calls_and_no_others() -> None:
    sources = "".join((CLIENT / name).read_text() for name in ("client.py", "channel.py", "connections.py"))
    assert set(re.findall(r'"(/[a-z0-9_/.-]+)"', sources)) == MADE_BY.keys()


@pytest.mark.parametrize("path", sorted(MADE_BY))
def test_each_call_is_made_by_a_test_of_this_suite(path: str) -> None:
    file, _, name = MADE_BY[path].partition("::")
    assert re.search(rf"^(async )?def {name}\(", (HERE / file).read_text(), re.MULTILINE)


def test_a_request_asks_for_one_completion() -> None:
    """More than one in a request, and SGLang forgets whose rid is whose."""
    request = GenerateRequest(
        rid="a",
        run="run",
        version=1,
        input_ids=(5, 6),
        sampling=Sampling(max_new_tokens=4),
        sampling_seed=7,
        timeout_s=5.0,
    )
    body = msgspec.json.decode(generate_body(request))
    assert isinstance(body["rid"], str)
    assert body["sampling_params"].get("n", 1) == 1
