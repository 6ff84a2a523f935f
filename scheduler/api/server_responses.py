"""What the API answers about servers.

Owns: the response models of servers.
"""

from scheduler.api.response import Response


class Server(Response):
    """A server of the fleet."""

    server_id: str
    """Stands for its address in paths."""
    url: str
    standing: str
    """What operators want of it: serving, drained, leaving, gone."""
    state: str
    version: int
    """The weight version confirmed last; 0 before any."""
    in_flight: int
    capacity: int
    reason: str
    """Why it gets nothing; empty if it does, or if operators want it so."""
    labels: dict[str, str]
    """By which runs choose it."""
    run: str
    """The run that owns it; empty while none does."""


class Servers(Response):
    """The fleet."""

    servers: list[Server]
