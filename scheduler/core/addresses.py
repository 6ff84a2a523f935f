"""Addresses of servers.

Owns: what is an address of a server, and the short id that stands for one. Pure: no name is looked up here. Invariant:
two spellings of one address become the same text, and so the same id.
"""

import hashlib
from urllib.parse import SplitResult, urlsplit

from scheduler.core.errors import InvalidInput

_EXAMPLE = "an address as in http://127.0.0.1:30000"
DEFAULT_PORTS = {"http": 80, "https": 443}
"""By scheme."""


def server_address(text: str) -> str:
    """The address of a server, spelt in one way; raises InvalidInput saying what is wrong with it."""
    parts = _split(text)
    name = parts.hostname or ""
    if parts.scheme not in DEFAULT_PORTS or not name.strip(".") or parts.port == 0:
        raise _refused(text, f"is not {_EXAMPLE}")
    if parts.username is not None or parts.password is not None:
        # Not repeated: it would end up in logs and answers.
        host = f"{parts.scheme}://{name}"
        raise _refused(host, "was given with a name or password in it: keys are PILOTCOMMIT_API_KEY and its admin's")
    if parts.query or parts.fragment:
        raise _refused(text, f"has a query or a fragment: give {_EXAMPLE}")
    host = f"[{name}]" if ":" in name else name
    port = "" if parts.port in (None, DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def server_id(address: str) -> str:
    """The id that stands for an address where an address cannot: in a path, or to be typed."""
    return f"s-{hashlib.blake2b(address.encode(), digest_size=4).hexdigest()}"


def _split(text: str) -> SplitResult:
    if any(character.isspace() or not character.isprintable() for character in text):
        raise _refused(text, f"has blanks in it: give {_EXAMPLE}")
    try:
        parts = urlsplit(text)
        # Reading the port is what checks it.
        _ = parts.port
    except ValueError as error:
        raise _refused(text, f"is not {_EXAMPLE}: {error}") from error
    return parts


def _refused(text: str, reason: str) -> InvalidInput:
    # What stands before an @ may be a secret: it would end up in logs and answers.
    return InvalidInput(f"{text.rpartition('@')[2]!r} {reason}", field="url")
