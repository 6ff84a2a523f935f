"""TLS as a client: whom to trust, and with which certificate to answer.

Owns: making the context out of files. Never turns verification off. Invariant: without an authority of one's own, the
public ones are trusted.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scheduler.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """Files in PEM; none of them is needed where public authorities have signed and nobody asks who calls."""

    ca_file: Path | None = None
    """Authorities to trust instead of the public ones."""
    cert_file: Path | None = None
    """Our certificate, where the other side wants one (mutual TLS)."""
    key_file: Path | None = None
    """Its key."""

    @classmethod
    def of_environment(cls, environ: Mapping[str, str], prefix: str) -> Self:
        """The files that `prefix`CA_FILE, CERT_FILE and KEY_FILE name."""
        given = {name: environ.get(f"{prefix}{name}_FILE") for name in ("CA", "CERT", "KEY")}
        return cls(**{f"{name.lower()}_file": Path(path) if path else None for name, path in given.items()})

    def over(self, general: "ClientTls") -> "ClientTls":
        """What these files leave out is as `general` has it; a certificate and its key go together."""
        identity = self if self.cert_file or self.key_file else general
        return ClientTls(
            ca_file=self.ca_file or general.ca_file, cert_file=identity.cert_file, key_file=identity.key_file
        )

    def context(self) -> ssl.SSLContext | None:
        """None where the default will do. Raises InvalidInput, naming the file, for one that cannot be used."""
        if self.key_file is not None and self.cert_file is None:
            raise InvalidInput(f"the key {self.key_file} has no certificate: name its file as well", field="cert_file")
        if self.ca_file is None and self.cert_file is None:
            return None
        context = ssl.create_default_context(cafile=_there(self.ca_file, "ca_file"))
        if self.cert_file is not None:
            certificate, key = _there(self.cert_file, "cert_file"), _there(self.key_file, "key_file")
            try:
                context.load_cert_chain(certificate or "", key)
            except ssl.SSLError as exc:
                raise InvalidInput(f"{self.cert_file} and its key cannot be used: {exc}", field="cert_file") from exc
        return context


def _there(path: Path | None, field: str) -> str | None:
    """The path, if it is of a file in PEM."""
    if path is None:
        return None
    try:
        is_pem = "-----BEGIN " in path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"{path} cannot be read: {exc}", field=field) from exc
    if not is_pem:
        raise InvalidInput(f"{path} is not in PEM: it has no -----BEGIN line", field=field)
    return str(path)
