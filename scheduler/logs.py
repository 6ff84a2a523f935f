"""Structured logs: one JSON line per state change.

Owns: how log lines look. Never decides what is logged. Invariant: every line is a JSON object, those of libraries too,
so that what collects them need not guess.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor


def configure(level: str, output: TextIO | None = None) -> None:
    """Log JSON lines of at least this level, our own and warnings of libraries, to stderr or to a file."""
    output = output if output is not None else sys.stderr
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    line = structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[*common, line],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(output),
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[ProcessorFormatter.remove_processors_meta, line],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
