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
    warnings: list[str]
    """What differs from the model and keeps it from nothing, such as the type that it computes in."""


class Servers(Response):
    """The fleet."""

    servers: list[Server]


class RefusedServer(Response):
    """A server behind a gateway that was not added."""

    url: str
    reason: str


class Joined(Response):
    """What became of the servers behind a gateway."""

    added: list[Server]
    present: list[Server]
    """Those that were of the fleet already."""
    refused: list[RefusedServer]
