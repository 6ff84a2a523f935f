"""docs/configuration.md is what the settings are."""

import re
from pathlib import Path

import pytest

from deploy.documentation.settings_reference import reference
from learner.settings import Settings as LearnerSettings
from scheduler.settings import Settings as SchedulerSettings

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"
TABLES = reference()


@pytest.mark.parametrize("heading", TABLES)
def test_every_field_is_in_the_document_as_it_is(heading: str) -> None:
    section = DOCUMENT.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert TABLES[heading] in section, "put what `python -m deploy.documentation.settings_reference` prints there"


@pytest.mark.parametrize("heading", TABLES)
def test_every_field_says_its_kind_its_default_and_its_meaning(heading: str) -> None:
    rows = re.findall(r"^\| `[\w.]+` \| (.+) \| (.+) \| (.*) \|$", TABLES[heading], re.MULTILINE)
    assert len(rows) == TABLES[heading].count("\n") - 2
    assert [row for row in rows if not all(cell.strip() for cell in row)] == []


def test_no_setting_is_left_out() -> None:
    assert TABLES["Scheduler"].count("\n| `") == len(SchedulerSettings.model_fields)
    assert TABLES["Learner"].count("\n| `") == len(LearnerSettings.model_fields)


@pytest.mark.parametrize(
    ("heading", "row"),
    [
        ("Scheduler", "| `PILOTCOMMIT_MODEL` | path | required | "),
        ("Scheduler", "| `PILOTCOMMIT_ROLL_OUT` | `at_once`, `rolling` | `at_once` | "),
        ("Scheduler", "| `PILOTCOMMIT_SERVERS` | list | none | "),
        ("Learner", "| `PILOTCOMMIT_LEARNER_CLIP_LOW` | number, > 0, < 1 | `0.2` | "),
        ("A run", "| `evaluation` | object | none | "),
        ("A run", "| `budget.rollouts` | whole number | none | "),
        ("A run", '| `evaluation.target` | text | `" {answer}\\n"` | '),
    ],
)
def test_a_field_is_told_in_words(heading: str, row: str) -> None:
    assert row in TABLES[heading]
