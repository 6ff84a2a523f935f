"""Which runs work at the same time, and what the others are told."""

import random

from scheduler.core.labels import Labels, has
from scheduler.core.queue import Contender, Place, places, position_of

H100, A100 = {"gpu": "h100"}, {"gpu": "a100"}
FLEET: list[Labels] = [H100, A100]


def make_run(run_id: str, wanted: Labels | None = None, *, has_begun: bool = False) -> Contender:
    return Contender(run_id=run_id, wanted=wanted or {}, has_begun=has_begun)


def positions(runs: list[Contender], fleet: list[Labels]) -> dict[str, int]:
    return {run_id: place.position for run_id, place in places(runs, fleet).items()}


def test_runs_that_want_any_server_work_one_after_the_other() -> None:
    found = places([make_run("first"), make_run("second"), make_run("third")], FLEET)
    assert [place.position for place in found.values()] == [0, 1, 2]
    assert found["second"].behind == ("first",)
    assert found["second"].why == "run first to end: servers that it wants are theirs"
    assert found["third"].why == "runs first, second to end: servers that it wants are theirs"


def test_runs_with_disjoint_labels_work_at_the_same_time() -> None:
    assert positions([make_run("one", H100), make_run("two", A100)], FLEET) == {"one": 0, "two": 0}


def test_a_server_that_two_runs_want_keeps_the_younger_one_waiting() -> None:
    both = {"gpu": "h100", "zone": "a"}
    assert positions([make_run("one", H100), make_run("two", {"zone": "a"})], [both, A100]) == {"one": 0, "two": 1}
    assert positions([make_run("one", H100), make_run("two", {"zone": "a"})], [H100, {"zone": "a"}])["two"] == 0


def test_nobody_overtakes_a_run_that_wants_the_same_server() -> None:
    """Else a run that wants the whole fleet would wait for ever."""
    runs = [make_run("h", H100), make_run("all"), make_run("a", A100)]
    assert positions(runs, FLEET) == {"h": 0, "all": 1, "a": 2}


def test_a_run_that_has_begun_goes_on_whatever_was_created_before_it() -> None:
    assert positions([make_run("older"), make_run("begun", has_begun=True)], FLEET) == {"begun": 0, "older": 1}


def test_a_run_whose_labels_no_server_has_says_what_there_is_and_holds_up_nobody() -> None:
    b200 = {"gpu": "b200", "zone": "a"}
    found = places([make_run("lost", b200), make_run("next")], [*FLEET, {}])
    assert found["lost"] == Place(
        position=1,
        why="a server with gpu=b200, zone=a: the servers of the fleet (3) have gpu=a100; gpu=h100; no label; "
        "add one with `pilotcommit server add URL --label gpu=b200 --label zone=a`",
    )
    assert found["next"].position == 0
    assert "the fleet has no servers" in places([make_run("lost", b200)], [])["lost"].why


def test_a_fleet_without_servers_has_one_run_that_waits_for_one() -> None:
    assert positions([make_run("first"), make_run("second")], []) == {"first": 0, "second": 1}


def test_a_run_that_is_not_in_the_queue_has_no_place_in_it() -> None:
    assert position_of({}, "gone") == Place(position=0)
    assert position_of(places([make_run("one"), make_run("two")], FLEET), "two").position == 1


def test_no_server_is_ever_wanted_by_two_runs_that_begin() -> None:
    rng = random.Random(7)
    words = [{}, H100, A100, {"zone": "a"}, {"gpu": "h100", "zone": "a"}, {"zone": "b"}]
    for _ in range(300):
        fleet: list[Labels] = [rng.choice(words) for _ in range(rng.randint(0, 5))]
        runs = [make_run(f"r{number}", rng.choice(words)) for number in range(rng.randint(1, 6))]
        found = places(runs, fleet)
        begin = [run for run in runs if not found[run.run_id].position]
        assert all(sum(has(labels, run.wanted) for run in begin) <= 1 for labels in fleet)
        for run in runs:
            assert bool(found[run.run_id].position) == bool(found[run.run_id].why)
