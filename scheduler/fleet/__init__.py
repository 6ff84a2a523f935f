"""The SGLang servers of this scheduler, and what is sent to which. Owns the public names; see scheduler.fleet.fleet."""

from scheduler.fleet.dispatcher import Dispatch
from scheduler.fleet.fitness import ExpectedModel
from scheduler.fleet.fleet import Fleet
from scheduler.fleet.roster import Connect, ConnectGateway, ConnectNamed, Describe, Joined, Roster
from scheduler.fleet.server import Server, ServerView
from scheduler.fleet.share import Share
from scheduler.fleet.traits import PLAIN, Traits

__all__ = [
    "PLAIN",
    "Connect",
    "ConnectGateway",
    "ConnectNamed",
    "Describe",
    "Dispatch",
    "ExpectedModel",
    "Fleet",
    "Joined",
    "Roster",
    "Server",
    "ServerView",
    "Share",
    "Traits",
]
