"""A document is read into what its reader does, and nothing of it is left out without a reason."""

from pathlib import Path

import pytest

from tests.quickstart.__main__ import DOCUMENTS, ROOT
from tests.quickstart.documents import LeftOut, Run, Write, shortened, steps
from tests.test_readme import commands

TEXT = """
```bash
make demo    # ten minutes
docker compose up
```

```python
# sums.py
print(7)
```

```bash
pilotcommit up \\
  --model m
```

```json
{"not": "a step"}
```
"""


def test_blocks_become_steps_in_their_order() -> None:
    assert list(steps(TEXT, left_out={"docker ": "elsewhere"})) == [
        LeftOut(line="docker compose up", reason="elsewhere"),
        Run(lines=("make demo",)),
        Write(name="sums.py", text="# sums.py\nprint(7)\n"),
        Run(lines=("pilotcommit up    --model m",), goes_on=True),
    ]


def test_what_was_run_before_is_not_run_again() -> None:
    assert [
        step for step in steps(TEXT, left_out={}, done=["make demo", "docker compose up"]) if isinstance(step, Run)
    ] == [Run(lines=("pilotcommit up    --model m",), goes_on=True)]


@pytest.mark.parametrize(
    ("line", "short"),
    [
        ("make demo", 'make demo ARGS="--budget-rollouts 64"'),
        ('make demo ARGS="--allocator grpo"', 'make demo ARGS="--allocator grpo --budget-rollouts 64"'),
        ('make demo ARGS="--json --budget-rollouts 2000"', 'make demo ARGS="--json --budget-rollouts 64"'),
        ("make test", "make test"),
    ],
)
def test_a_demo_can_be_made_shorter_and_nothing_else(line: str, short: str) -> None:
    assert shortened(Run(lines=(line,)), rollouts=64) == Run(lines=(short,))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_of_the_documents_is_run_or_left_out_by_name(name: str) -> None:
    text = Path(ROOT / name).read_text()
    told = list(steps(text, left_out=DOCUMENTS[name]))
    lines = [line for step in told if isinstance(step, Run) for line in step.lines]
    lines += [step.line for step in told if isinstance(step, LeftOut)]
    assert len(lines) == len(commands(text))
    assert any(isinstance(step, Run) for step in told)
