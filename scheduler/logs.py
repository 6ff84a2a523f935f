"""Structured logs: one JSON line per state change.

Owns: how log lines look. Never decides what is logged.
"""

import logging
import sys
from typing import TextIO

import structlog


def configure(level: str, output: TextIO = sys.stderr) -> None:
    """Log JSON lines of at least this level, our own and warnings of libraries, to stderr or to a file."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(output),
    )
    logging.basicConfig(level=logging.WARNING, stream=output, format="%(levelname)s %(name)s %(message)s")
