"""One folder, three names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.core.path_map import MappedFolder, PathMap

RUNS = PathMap([MappedFolder.parse("/runs=/mnt/runs=/srv/weights")])
names = st.text(alphabet="abr.-", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))


def test_a_learners_folder_is_read_here_and_at_servers_under_their_own_names() -> None:
    assert RUNS.here("/runs/one/step-3") == "/mnt/runs/one/step-3"
    assert RUNS.at_servers("/runs/one/step-3") == "/srv/weights/one/step-3"
    assert RUNS.at_servers("/runs") == "/srv/weights"


@pytest.mark.parametrize("path", ["/runs2/step", "/mnt/runs/step", "runs/step", "/", "/r", "w1"])
def test_a_prefix_ends_where_a_component_ends(path: str) -> None:
    assert (RUNS.here(path), RUNS.at_servers(path)) == (path, path)


@given(st.lists(names, min_size=1, max_size=4))
def test_what_is_below_the_folder_keeps_its_name(parts: list[str]) -> None:
    below = "/".join(parts)
    assert RUNS.here(f"/runs/{below}") == f"/mnt/runs/{below}"


def test_the_deepest_folder_decides_whatever_the_order() -> None:
    folders = [MappedFolder.parse("/runs=/a=/b"), MappedFolder.parse("/runs/fast=/c=/d")]
    for given_order in (folders, folders[::-1]):
        mapped = PathMap(given_order)
        assert (mapped.here("/runs/fast/1"), mapped.here("/runs/slow/1")) == ("/c/1", "/a/slow/1")


def test_a_path_that_climbs_out_of_a_mapped_folder_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"without '\.\.'") as refused:
        RUNS.at_servers("/runs/../etc")
    assert refused.value.field == "path"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/runs=/mnt/runs", "has 2 of the three parts"),
        ("/a=/b=/c=/d", "has 4 of the three parts"),
        ("runs=/mnt=/srv", "'runs'.*is no absolute folder"),
        ("/runs==/srv", "''.*is no absolute folder"),
        ("/runs=/mnt/../x=/srv", r"'/mnt/\.\./x'"),
    ],
)
def test_an_entry_that_cannot_work_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        MappedFolder.parse(text)


def test_a_folder_has_one_mapping() -> None:
    with pytest.raises(InvalidInput, match="/runs is mapped twice"):
        PathMap([MappedFolder.parse("/runs=/a=/b"), MappedFolder.parse("/runs/=/c=/d")])


def test_without_a_map_every_path_is_the_same_everywhere() -> None:
    assert PathMap().here("/runs/../x") == PathMap().at_servers("/runs/../x") == "/runs/../x"


def test_whether_a_path_lies_in_a_mapped_folder_can_be_asked() -> None:
    assert RUNS.maps("/runs/one")
    assert not RUNS.maps("/runs2/one")
