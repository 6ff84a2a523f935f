"""The file of servers: what differs from one server to the next, by address.

    ["http://10.0.0.7:30000"]
    labels = { gpu = "h100" }
    api_key_file = "/run/secrets/sglang-7"
    folders = { "/runs" = "/mnt/nfs/runs" }

Owns: its form, and reading it. Never says which servers there are: the settings and the operators do. Invariants: it
has no secret in it, only where each is; a mistake is told with the server and the field, and what would be right.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scheduler.core.addresses import server_address
from scheduler.core.errors import InvalidInput
from scheduler.core.labels import Labels, checked
from scheduler.core.path_map import SAME_EVERYWHERE, MappedFolder, PathMap
from scheduler.secret_files import read_secret
from scheduler.tls import ClientTls

_FIELD = "servers_file"


class ServerTable(BaseModel):
    """One table of the file: what is said of one server, over what the settings say of all."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    labels: Annotated[dict[str, str], Field(max_length=16)] = {}
    """By which runs choose it."""
    api_key_file: Path | None = None
    """File with the key of its data plane, if that is not PILOTCOMMIT_API_KEY."""
    admin_api_key_file: Path | None = None
    """File with the key of its control plane, if that is not PILOTCOMMIT_ADMIN_API_KEY."""
    ca_file: Path | None = None
    """Authorities, in PEM, to trust for it instead of PILOTCOMMIT_SERVER_CA_FILE."""
    cert_file: Path | None = None
    """Our certificate, where it asks for another one than PILOTCOMMIT_SERVER_CERT_FILE."""
    key_file: Path | None = None
    """Its key."""
    folders: dict[str, str] = {}
    """Where it sees folders of learners, if not where PILOTCOMMIT_PATH_MAP says: the learner's by the server's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the file says of one server; what it does not say is left to the settings."""

    labels: Labels = field(default_factory=dict)
    api_key: str | None = field(default=None, repr=False)
    admin_api_key: str | None = field(default=None, repr=False)
    tls: ClientTls = field(default_factory=ClientTls)
    paths: PathMap = SAME_EVERYWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersFile:
    """The file, read anew whenever a server is met: keys can be added while the scheduler runs."""

    path: Path | None
    """None where there is none: nothing is particular of any server."""

    def of(self, url: str) -> Described:
        """What it says of the server at this address; raises InvalidInput."""
        table = self.tables().get(url)
        return self._described(url, table) if table is not None else Described()

    def check(self) -> None:
        """Read everything that it names; raises InvalidInput for the first mistake."""
        for url, table in self.tables().items():
            described = self._described(url, table)
            try:
                described.tls.context()
            except InvalidInput as error:
                raise self._wrong(url, str(error.field), str(error)) from error

    def tables(self) -> dict[str, ServerTable]:
        """Every table, by the server's address; raises InvalidInput."""
        if self.path is None:
            return {}
        try:
            found = tomllib.loads(self.path.read_text())
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else exc
            raise InvalidInput(f"{self.path} cannot be read: {why}", field=_FIELD) from exc
        tables: dict[str, ServerTable] = {}
        for name, content in found.items():
            url = self._address(name)
            if url in tables:
                raise InvalidInput(f"{self.path}: {url} has two tables, {name!r} is the second", field=_FIELD)
            tables[url] = self._table(name, content)
        return tables

    def _address(self, name: str) -> str:
        try:
            return server_address(name)
        except InvalidInput as error:
            raise InvalidInput(
                f'{self.path}: {error}: a table is named ["http://10.0.0.7:30000"]', field=_FIELD
            ) from error

    def _table(self, name: str, content: object) -> ServerTable:
        try:
            return ServerTable.model_validate(content)
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in fault["loc"]) or "its table"
            known = ", ".join(ServerTable.model_fields)
            remedy = f"; known are {known}" if fault["type"] == "extra_forbidden" else ""
            raise self._wrong(name, place, f"{fault['msg']}{remedy}") from error

    def _described(self, url: str, table: ServerTable) -> Described:
        try:
            labels = checked(table.labels, "labels")
        except InvalidInput as error:
            raise self._wrong(url, "labels", str(error)) from error
        return Described(
            labels=labels,
            api_key=self._secret(url, "api_key_file", table.api_key_file),
            admin_api_key=self._secret(url, "admin_api_key_file", table.admin_api_key_file),
            tls=ClientTls(ca_file=table.ca_file, cert_file=table.cert_file, key_file=table.key_file),
            paths=PathMap(self._folder(url, learner, server) for learner, server in table.folders.items()),
        )

    def _secret(self, url: str, name: str, path: Path | None) -> str | None:
        if path is None:
            return None
        try:
            return read_secret(path)
        except InvalidInput as error:
            raise self._wrong(url, name, str(error)) from error

    def _folder(self, url: str, learner: str, server: str) -> MappedFolder:
        for part in (learner, server):
            if not part.startswith("/") or ".." in PurePosixPath(part).parts:
                raise self._wrong(url, "folders", f'{part!r} is no absolute folder: write "/runs" = "/mnt/runs"')
        return MappedFolder(learner=PurePosixPath(learner), here=PurePosixPath(learner), server=PurePosixPath(server))

    def _wrong(self, url: str, name: str, why: str) -> InvalidInput:
        return InvalidInput(f"{self.path}: {name} of {url}: {why}", field=_FIELD)
