"""Files of prompts, as people have them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow
from pyarrow import parquet

Rows = Iterable[Mapping[str, object]]


def write_parquet(path: Path, rows: Rows, *, row_group_size: int | None = None) -> Path:
    """Rows as Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=row_group_size)
    return path


def write_lines(path: Path, rows: Rows) -> Path:
    """Rows as JSON objects, a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_verl(numbers: Iterable[int]) -> list[dict[str, object]]:
    """Sums as verl's Parquet files have them."""
    return [
        {
            "data_source": "sums",
            "prompt": [{"role": "user", "content": f"{number}+1="}],
            "reward_model": {"style": "rule", "ground_truth": str(number + 1)},
            "extra_info": {"index": number, "split": "train"},
        }
        for number in numbers
    ]


def make_gsm8k(numbers: Iterable[int]) -> list[dict[str, object]]:
    """Sums as GSM8K has them: an answer that ends with the number."""
    return [{"question": f"{number}+1?", "answer": f"one more\n#### {number + 1}"} for number in numbers]
