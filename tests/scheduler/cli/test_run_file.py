"""A run as a file, and what is put over it."""

import io
from pathlib import Path

import pytest
import typer

from scheduler.cli.run_file import read, settings

TOML = """
pool = "sums"
pilots = 4
[sampling]
max_new_tokens = 8
stop = ["\\n"]
"""
YAML = """
pool: sums
pilots: 4
sampling: {max_new_tokens: 8, stop: ["\\n"]}
"""
JSON = '{"pool": "sums", "pilots": 4, "sampling": {"max_new_tokens": 8, "stop": ["\\n"]}}'
FIELDS = {"pool": "sums", "pilots": 4, "sampling": {"max_new_tokens": 8, "stop": ["\n"]}}


@pytest.mark.parametrize(
    ("name", "text"),
    [("run.toml", TOML), ("run.yaml", YAML), ("run.yml", YAML), ("run.json", JSON), ("RUN.TOML", TOML)],
)
def test_its_name_says_what_is_in_it(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read(path) == FIELDS


@pytest.mark.parametrize("text", [YAML, JSON])
def test_stdin_is_yaml_or_json(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert read(Path("-")) == FIELDS


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.txt", JSON, r"none of \.toml, \.yaml, \.yml, \.json"),
        ("run.toml", "pool = =", "line 1, column 8"),
        ("run.yaml", "pool: sums\nbudget: {rollouts: 1", "line 2, column 21"),
        ("run.yaml", "pool: \x01", "special characters are not allowed"),
        ("run.json", '{"pool": }', "line 1 column 10"),
        ("run.yaml", "- pool", "no fields of a run"),
        ("run.yaml", "", "no fields of a run"),
    ],
)
def test_one_that_cannot_be_read_says_where(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(typer.BadParameter, match=said) as refused:
        read(path)
    assert (refused.value.param_hint, str(path) in str(refused.value)) == ("FILE", True)


def test_a_setting_is_json_or_else_the_text_that_it_is() -> None:
    given = ["budget.rollouts=2000", "pool=sums", "max_steps=null", 'sampling.stop=["="]', "seed=07", "run_id=a=b"]
    assert settings(given) == {
        "budget.rollouts": 2000,
        "pool": "sums",
        "max_steps": None,
        "sampling.stop": ["="],
        "seed": "07",
        "run_id": "a=b",
    }


@pytest.mark.parametrize("pair", ["pool", "=3", "", "budget.=3", ".rollouts=3"])
def test_a_setting_of_another_form_is_refused(pair: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"is not FIELD=VALUE, as in budget\.rollouts=2000"):
        settings([pair])
