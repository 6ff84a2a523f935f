"""The SGLang servers of this scheduler, and what is sent to which. Owns the public names; see scheduler.fleet.fleet."""

from scheduler.fleet.dispatcher import Dispatch
from scheduler.fleet.fitness import ExpectedModel
from scheduler.fleet.fleet import Fleet
from scheduler.fleet.roster import Connect, ConnectNamed, Roster
from scheduler.fleet.server import Server, ServerView

__all__ = ["Connect", "ConnectNamed", "Dispatch", "ExpectedModel", "Fleet", "Roster", "Server", "ServerView"]
