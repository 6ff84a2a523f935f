"""The `pilotcommit` command: thin over `scheduler.client`, for people on a terminal and, with --json, for scripts."""

from scheduler.cli.app import main

__all__ = ["main"]
