"""What msgspec raises for bytes from outside.

Owns: the list. Invariant: whoever decodes bytes that others wrote catches all of it, so that bad bytes are bad
input and never an error of ours.
"""

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Malformed or of the wrong type; text that is none; nested deeper than any of our values."""
