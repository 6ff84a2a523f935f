"""`pilotcommit export`, of a run with something in its ledger, read back with pyarrow."""

import json
from pathlib import Path

import pyarrow
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from scheduler.cli.export_files import FileFormat, opened
from scheduler.core.errors import InvalidInput
from scheduler.core.export import COLUMNS, ExportTable
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.types import Stage
from scheduler.service import Service
from scheduler.state.records import Attempt
from scheduler.state.visit import Landing, Trace
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import PROMPTS, make_busy_run
from tests.scheduler.state.stores import Stores, make_event, make_rollouts, make_row


def files(folder: Path) -> dict[str, int]:
    """What is in a folder, with sizes."""
    return {path.name: path.stat().st_size for path in folder.iterdir()}


LEDGER_ROW = {"stage": "pilot", "status": "skipped", "unit": "attempts", "value": 3}


async def _visit_on_record(stores: Stores) -> None:
    """A visit of two pilots whose attempts and completions are recorded."""
    rollouts = make_rollouts(2)
    attempts = tuple(Attempt.rewarded(rollout, "http://one") for rollout in rollouts)
    visit = await stores.visits.launch(await stores.claim("sum-2"), Stage.PILOT, 2)
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=rollouts), held=rollouts)
    await stores.visits.settle(
        visit,
        Outcome.SKIPPED,
        row=make_row(visits=2),
        state=PromptState.READY,
        event=make_event(at=5.25),
        trace=Trace(attempts=attempts, rollouts=rollouts),
    )


async def test_the_ledger_read_back_sums_to_what_the_run_has_spent(
    pilotcommit: Command, service: Service, tmp_path: Path
) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("export", "busy", str(tmp_path / "out"), "--json")
    assert said.code == 0, said.err
    written = {each["table"]: each for each in json.loads(said.out)}
    assert set(written) == {table.value for table in ExportTable}
    ledger = parquet.read_table(written["ledger"]["file"])
    sampled = ledger.filter(pc.field("stage").isin(["pilot", "commit"]))
    spent = (await service.views.run("busy")).ledger
    for unit, amount in (("attempts", spent.spent_rollouts), ("generated_tokens", spent.spent_tokens)):
        assert pc.sum(sampled.filter(pc.field("unit") == unit)["value"]).as_py() == amount
    for each in written.values():
        assert each["rows"] == parquet.read_metadata(each["file"]).num_rows
    assert files(tmp_path / "out") == {f"{name}.parquet": each["bytes"] for name, each in written.items()}


async def test_a_file_says_what_each_column_means_and_which_run_it_is_of(
    pilotcommit: Command, service: Service, tmp_path: Path
) -> None:
    await _visit_on_record(await make_busy_run(service.redis))
    assert (await pilotcommit("export", "busy", str(tmp_path))).code == 0
    for table in ExportTable:
        schema = parquet.read_schema(tmp_path / f"{table}.parquet")
        assert schema.metadata[b"pilotcommit.run"] == b"busy"
        assert schema.names == [column.name for column in COLUMNS[table]]
        for column in COLUMNS[table]:
            assert schema.field(column.name).metadata == {b"meaning": column.meaning.encode()}
    prompts = parquet.read_table(tmp_path / "prompts.parquet")
    assert tuple(prompts["prompt_id"].to_pylist()) == PROMPTS
    groups = parquet.read_table(tmp_path / "groups.parquet")
    assert groups.schema.field("ended_at").type == pyarrow.timestamp("us", tz="UTC")
    [at] = groups.filter(pc.field("visit_id") == "visit-sum-2")["ended_at"].to_pylist()
    assert at.timestamp() == 5.25
    completions = parquet.read_table(tmp_path / "completions.parquet").to_pylist()
    assert [(row["rid"], row["correct"], row["text"], row["tokens"]) for row in completions] == [
        ("pilot-0", False, "", 2),
        ("pilot-1", True, "", 2),
    ]


async def test_lines_of_json_have_the_same_rows(pilotcommit: Command, service: Service, tmp_path: Path) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("export", "busy", str(tmp_path), "--table", "history", "--format", "jsonl", "--json")
    [written] = json.loads(said.out)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert len(rows) == written["rows"] > len(PROMPTS) / 2
    assert [list(row) for row in rows] == [[column.name for column in COLUMNS[ExportTable.HISTORY]]] * len(rows)
    assert list(files(tmp_path)) == ["history.jsonl"]


async def test_a_run_that_is_not_there_leaves_no_file(pilotcommit: Command, service: Service, tmp_path: Path) -> None:
    said = await pilotcommit("export", "none", str(tmp_path))
    assert (said.code, "there is no run none" in said.err) == (1, True)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("file_format", FileFormat)
def test_an_export_that_breaks_off_leaves_the_file_that_was_there(tmp_path: Path, file_format: FileFormat) -> None:
    path = tmp_path / f"ledger.{file_format}"
    with opened(path, ExportTable.LEDGER, file_format, run_id="run") as write:
        write([LEDGER_ROW])
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        _broken_off(path, file_format)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def _broken_off(path: Path, file_format: FileFormat) -> None:
    with opened(path, ExportTable.LEDGER, file_format, run_id="run") as write:
        write([LEDGER_ROW, LEDGER_ROW])
        raise KeyboardInterrupt


def test_many_rows_are_written_in_parts_and_all_are_there(tmp_path: Path) -> None:
    path, text = tmp_path / "completions.parquet", "x" * 100_000
    row = {column.name: None if column.may_be_missing else "" for column in COLUMNS[ExportTable.COMPLETIONS]}
    with opened(path, ExportTable.COMPLETIONS, FileFormat.PARQUET, run_id="run") as write:
        for number in range(100):
            write([{**row, "rid": f"{number}-{part}", "tokens": number, "text": text} for part in range(10)])
    metadata = parquet.read_metadata(path)
    assert (metadata.num_rows, metadata.num_row_groups) == (1000, 3)


def test_a_folder_that_cannot_be_written_into_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "none" / "ledger.parquet"
    with (
        pytest.raises(InvalidInput, match="cannot be written: No such file or directory"),
        opened(path, ExportTable.LEDGER, FileFormat.PARQUET, run_id="run") as write,
    ):
        write([LEDGER_ROW])
