"""Why the fake server does not answer as asked.

Refused          400 {"error": {"message": ...}}
ContractBroken   400 {"error": "..."}
QueueFull        503 {"object": "error", ...}
ServerGone       no answer: the connection breaks
"""


class Refused(Exception):
    """The request is wrong: 400 with a message."""


class QueueFull(Exception):
    """More requests wait than the server was told to hold: 503."""


class ServerGone(Exception):
    """The server died: nobody answers."""


class ContractBroken(Exception):
    """An unknown sampling field: SGLang answers with a bare string where its other errors are objects."""
