"""Whatever is logged, by us or by a library, is one JSON object a line."""

import json
import subprocess
import sys
from pathlib import Path

# In a process of its own: how a process logs is set once in its life.
SCRIPT = """
import logging, sys
import structlog
from scheduler import logs

logs.configure(*{arguments})
log = structlog.get_logger()
log.debug("too quiet")
log.info("published", run="r", path=sys.path and __import__("pathlib").Path("/w"))
logging.getLogger("library").info("chatter")
logging.getLogger("library").warning("odd: %s", 7)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
    logging.getLogger("library").exception("broken")
"""


def _logged(arguments: str) -> tuple[list[dict[str, object]], str]:
    script = SCRIPT.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()], done.stdout


def test_every_line_is_a_json_object_that_says_when_how_grave_and_what() -> None:
    lines, printed = _logged("('info',)")
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "published"),
        ("warning", "odd: 7"),
        ("error", "failed"),
        ("error", "broken"),
    ]
    assert all(str(line["timestamp"]).endswith("Z") for line in lines)
    assert (lines[0]["run"], lines[0]["path"]) == ("r", "/w")
    assert lines[1]["logger"] == "library"
    assert printed == ""


def test_an_exception_comes_with_its_traceback_on_the_same_line() -> None:
    lines, _ = _logged("('ERROR',)")
    assert [line["event"] for line in lines if line["level"] == "error"] == ["failed", "broken"]
    assert all("ZeroDivisionError" in str(line["exception"]) for line in lines if line["level"] == "error")


def test_less_severe_lines_are_left_out() -> None:
    lines, _ = _logged("('WARNING',)")
    assert "published" not in [line["event"] for line in lines]


def test_lines_go_to_a_file_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines, _ = _logged(f"('INFO', open({str(path)!r}, 'w', buffering=1))")
    assert lines == []
    assert next(json.loads(line)["event"] for line in path.read_text().splitlines()) == "published"
