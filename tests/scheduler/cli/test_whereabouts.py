"""Where everything is, once it runs."""

from pathlib import Path

from scheduler.cli.whereabouts import Whereabouts
from tests.scheduler.cli.shown import text_of


def _where(*, url: str = "http://127.0.0.1:8400", learners: bool = True, port: int = 8401) -> Whereabouts:
    return Whereabouts(
        url=url,
        folder=Path("/state"),
        servers=("http://one:1", "http://two:2"),
        redis="embedded",
        learner_metrics_port=port,
        learners=learners,
    )


def test_the_screen_names_every_place() -> None:
    text = text_of(_where().screen())
    for place in (
        "http://127.0.0.1:8400/docs",
        "http://127.0.0.1:8401/metrics",
        "http://one:1",
        "http://two:2",
        "/state/redis, embedded",
        "/state/logs",
    ):
        assert place in text


def test_programs_are_told_the_same_places() -> None:
    where = _where().as_json()
    assert where["learner_metrics"] == "http://127.0.0.1:8401/metrics"
    assert where["servers"] == ["http://one:1", "http://two:2"]
    assert (where["url"], where["dir"], where["logs"]) == ("http://127.0.0.1:8400", "/state", "/state/logs")


def test_metrics_that_nobody_serves_are_not_named() -> None:
    assert _where(port=0).as_json()["learner_metrics"] is None
    assert _where(learners=False).as_json()["learner_metrics"] is None
    assert "not served" in text_of(_where(port=0).screen())


def test_another_port_than_the_usual_is_said_where_it_is_needed() -> None:
    assert "PILOTCOMMIT_URL=http://127.0.0.1:9000" in text_of(_where(url="http://127.0.0.1:9000").screen())
    assert "PILOTCOMMIT_URL" not in text_of(_where().screen())
