"""What Redis answers, as the types we asked for: the client's own annotations allow far more than a connection returns.

Owns: nothing but these two conversions. Invariant: our connections never decode responses, so an answer is bytes.
"""

from scheduler.core.errors import StateError


def raw(answer: object) -> bytes:
    """An answer as bytes; raises StateError if it is something else."""
    if isinstance(answer, bytes):
        return answer
    raise StateError(f"Redis answered {type(answer).__name__} where bytes were expected")


def text(answer: object) -> str:
    """An answer as text; raises StateError if it is not bytes."""
    try:
        return raw(answer).decode()
    except UnicodeDecodeError as exc:
        raise StateError(f"Redis answered bytes that are no text: {exc}") from exc
