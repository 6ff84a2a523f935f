"""The pages on the group stream and on trainers have the frames, fields, errors, words and names of the code."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from scheduler.core import errors
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Group, Rollout, VersionSpan
from scheduler.frames import (
    FORMAT,
    BatchFrame,
    Envelope,
    FinalFrame,
    GroupFrame,
    HeartbeatFrame,
    check_readable,
    check_written,
)

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "group-stream.md").read_text()
TRAINERS = (ROOT / "docs" / "your-trainer.md").read_text()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("group", GroupFrame), ("batch", BatchFrame), ("heartbeat", HeartbeatFrame), ("final", FinalFrame),
        ("rollout", Rollout), ("span", VersionSpan),
    ],
)  # fmt: skip
def test_every_field_of_a_frame_is_on_the_page(name: str, kind: type) -> None:
    rows = [line for line in PAGE.splitlines() if re.match(rf"\| `?{name}`? \|", line)]
    assert {field.name for field in fields(kind)} <= set(re.findall(r"`(\w+)`", rows[0]))


def test_every_field_of_a_group_is_on_the_page() -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith("| group |")]
    assert {field.name for field in fields(Group)} <= set(re.findall(r"`(\w+)`", row))


def test_every_kind_of_frame_is_on_the_page() -> None:
    kinds = set(Envelope.__struct_fields__) - {"format"}
    assert all(f"| `{kind}` |" in PAGE for kind in kinds)


def test_the_page_is_about_the_format_that_is_written() -> None:
    assert f"Format {FORMAT} of the frames" in PAGE


def test_the_page_quotes_what_a_mismatch_says() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_readable([FORMAT - 1])
    assert f"`{refused.value}`" in PAGE
    with pytest.raises(InvalidInput) as unread:
        check_written(FORMAT + 1)
    assert f"`{unread.value}`" in PAGE
    with pytest.raises(InvalidInput, match="the learner reads 3, 4: upgrade the scheduler"):
        check_readable([FORMAT + 2, FORMAT + 1])


def test_the_errors_on_the_page_are_ours() -> None:
    named = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)`", PAGE)) | {"Conflict"}
    assert {"StaleIncarnation", "NotAtWork", "InvalidInput"} <= named
    assert all(issubclass(getattr(errors, name), errors.PilotCommitError) for name in named)


def test_what_trainers_are_told_to_name_is_there() -> None:
    names = set(re.findall(r"learner\.adapters\.(\w+)\.(\w+)", TRAINERS))
    assert {module for module, _ in names} == {"verl", "slime"}
    imported = re.findall(r"from (learner\.adapters\.\w+|scheduler\.\w+) import (.+)", TRAINERS)
    for module, found in [*((f"learner.adapters.{module}", name) for module, name in names), *imported]:
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        assert set(found.split(", ")) <= defined, module
