"""Secrets from files: for a variable NAME that holds one, NAME_FILE may name a file that has it.

Owns: reading such files. Invariant: a secret is given once, in the environment or in a file, and is never a part of an
error.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from scheduler.core.errors import InvalidInput

_LONGEST_BYTES = 64 << 10


def with_secrets(environ: Mapping[str, str], names: Collection[str]) -> Mapping[str, str]:
    """The environment with these variables read from their files, whose own variables are gone.

    White space at the end of a file is no part of its secret. Raises InvalidInput with the variable at fault.
    """
    read = {name: _secret(environ, name) for name in names if f"{name}_FILE" in environ}
    files = {f"{name}_FILE" for name in names}
    return {name: value for name, value in environ.items() if name not in files} | read


def _secret(environ: Mapping[str, str], name: str) -> str:
    variable = f"{name}_FILE"
    if name in environ:
        raise InvalidInput(f"{name} and {variable} are both set: keep one", field=variable)
    try:
        return read_secret(Path(environ[variable]))
    except InvalidInput as error:
        raise InvalidInput(f"{variable} is {error}", field=variable) from error


def read_secret(path: Path) -> str:
    """What a file holds, without white space at its end; raises InvalidInput, which never repeats it."""
    try:
        with path.open("rb") as file:
            secret = file.read(_LONGEST_BYTES + 1).decode().rstrip()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise InvalidInput(f"{str(path)!r}, which cannot be read: {why}") from exc
    if not secret or len(secret) > _LONGEST_BYTES:
        raise InvalidInput(f"{str(path)!r}, which holds no secret but {len(secret)} bytes")
    return secret
