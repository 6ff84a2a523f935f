"""The SGLang servers of this scheduler, and what is sent to which. Owns the public names; see scheduler.fleet.fleet."""

from scheduler.fleet.dispatcher import Dispatch
from scheduler.fleet.fleet import Fleet
from scheduler.fleet.server import Server, ServerView

__all__ = ["Dispatch", "Fleet", "Server", "ServerView"]
