"""A throw-away authority and its certificates, as files."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its key, in PEM."""

    cert_file: Path
    key_file: Path


class Authority:
    """An authority of its own; two of them know nothing of each other."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, name: str) -> Identity:
        """A certificate for a host or an address."""
        issued = self._ca.issue_cert(name)
        identity = Identity(cert_file=self._folder / f"{name}.pem", key_file=self._folder / f"{name}.key")
        issued.private_key_pem.write_to_path(str(identity.key_file))
        identity.cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return identity
