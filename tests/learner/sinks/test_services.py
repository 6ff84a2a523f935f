"""TensorBoard and Weights & Biases get the numbers of a session, in files that their own readers read."""

import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from learner.assembly import assemble
from learner.fault import Fault
from learner.session import Ending, Session
from learner.settings import FloatFormat, Settings
from learner.sinks.assembly import sinks_of
from learner.work_dir import WorkDir
from scheduler.core.errors import InvalidInput, ServerUnavailable
from tests.learner.random_groups import random_group
from tests.learner.scripted_link import ScriptedLink

_HEADER = struct.Struct("<IHB")
_BLOCK, _WHOLE, _LAST = 32 * 1024, 1, 4


@pytest.fixture
def settings(tmp_path: Path, tiny_checkpoint: Path) -> Settings:
    """Of a learner that computes exactly."""
    exact = FloatFormat.FLOAT32
    return Settings(
        run_id="run-1", model_path=tiny_checkpoint, work_dir=tmp_path / "work", autocast=exact, publish_format=exact
    )


async def _trained(settings: Settings, link: ScriptedLink) -> None:
    work_dir = WorkDir(root=settings.work_dir)
    with work_dir.held():
        start = assemble(settings, work_dir, incarnation="one", fault=Fault())
    assert await Session(link, start.workshop, start.progress, incarnation="one").run() is Ending.FINISHED
    start.workshop.sinks.close()


def _two_steps() -> ScriptedLink:
    return ScriptedLink({step: [random_group(seed=step)] for step in (1, 2)})


async def test_tensorboard_reads_what_a_session_did(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'pilotcommit[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    link = _two_steps()
    await _trained(settings.model_copy(update={"tensorboard_dir": tmp_path / "events"}), link)

    events = EventAccumulator(str(tmp_path / "events" / "run-1"))
    events.Reload()
    told = {event.step: event.value for event in events.Scalars("learner/loss")}
    assert told == pytest.approx({step.step: step.stats["loss"] for step in link.applied_steps})
    assert [event.value for event in events.Scalars("learner/weight_version")] == [2, 3]
    assert [(event.step, event.value) for event in events.Scalars("run/spent_rollouts")] == [(1, 8), (2, 16)]
    assert [(event.step, event.value) for event in events.Scalars("run/accuracy")] == [(0, 0.25)], "told once"


async def test_a_scheduler_that_is_away_takes_only_its_own_numbers_from_the_curves(
    settings: Settings, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'pilotcommit[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    link = replace(_two_steps(), failing={"course": ServerUnavailable("restarting")})
    await _trained(settings.model_copy(update={"tensorboard_dir": tmp_path}), link)
    events = EventAccumulator(str(tmp_path / "run-1"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert "learner/loss" in tags
    assert not [tag for tag in tags if tag.startswith("run/")]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Weights & Biases without its service."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    pytest.importorskip("wandb", reason="pip install 'pilotcommit[wandb]'")
    yield
    import wandb

    wandb.teardown()


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a file of wandb: LevelDB's log format, after a header as long as one of a record."""
    place, record = _HEADER.size, b""
    while place + _HEADER.size <= len(data):
        if (left := _BLOCK - place % _BLOCK) < _HEADER.size:
            place += left
            continue
        _, length, kind = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        record += data[place : place + length]
        place += length
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""


@pytest.mark.usefixtures("offline")
async def test_weights_and_biases_keeps_an_offline_run_of_what_a_session_did(settings: Settings) -> None:
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made at import

    link = _two_steps()
    await _trained(settings.model_copy(update={"wandb_project": "rollouts"}), link)

    # As at the end of the process: its service writes the file, and is waited for.
    wandb.teardown()
    [file] = settings.work_dir.glob("wandb/offline-run-*-run-1/*.wandb")
    rows: list[dict[str, float]] = []
    for data in _records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = record.history.item
            rows.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items})
    told = {row["step"]: row["learner/loss"] for row in rows if "learner/loss" in row}
    assert told == pytest.approx({step.step: step.stats["loss"] for step in link.applied_steps})
    assert [(row["step"], row["run/accuracy"]) for row in rows if "run/accuracy" in row] == [(0, 0.25)]


async def test_a_sink_that_cannot_start_is_told_of_and_the_learner_trains(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'pilotcommit[tensorboard]'")
    (tmp_path / "file").write_text("no folder")
    link = _two_steps()
    with capture_logs() as logs:
        await _trained(settings.model_copy(update={"tensorboard_dir": tmp_path / "file"}), link)
    [told] = [entry for entry in logs if entry["event"] == "sink_failed"]
    assert (told["sink"], "file" in told["reason"]) == ("TensorBoard", True)
    assert [step.step for step in link.applied_steps] == [1, 2]


@pytest.mark.parametrize(
    ("field", "package", "module"),
    [("tensorboard_dir", "tensorboard", "torch.utils.tensorboard"), ("wandb_project", "wandb", "wandb")],
)
def test_a_library_that_is_missing_is_named_with_what_installs_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, field: str, package: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"learner.sinks.{package}", raising=False)
    chosen = settings.model_copy(update={field: Path("runs") if field == "tensorboard_dir" else "project"})
    with pytest.raises(InvalidInput, match=rf"pip install 'pilotcommit\[{package}\]'") as refused:
        sinks_of(chosen)
    assert refused.value.field == field


def test_no_sink_is_on_by_default(settings: Settings) -> None:
    assert not sinks_of(settings)
