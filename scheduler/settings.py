"""The scheduler's settings, from its environment.

Owns: their names, defaults and cross-checks. Built once, in main. Invariant: an unknown key or a value that cannot
work is refused at load, with the value in the message.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from scheduler.core.addresses import server_address
from scheduler.core.errors import InvalidInput
from scheduler.core.imports import EVERYTHING, Importable
from scheduler.core.path_map import MappedFolder, PathMap
from scheduler.core.rate import Rate
from scheduler.core.reachable import LOCAL, Reachable
from scheduler.core.roll_out import RollOutOrder
from scheduler.rewards.batching import Terms
from scheduler.rewards.isolation import Confinement, IsolationMode
from scheduler.secret_files import with_secrets
from scheduler.servers_file import ServersFile
from scheduler.tls import ClientTls
from scheduler.token_file import TokenFile

EMBEDDED = "embedded"
PREFIX = "PILOTCOMMIT_"
_OF_OTHERS = ("LEARNER_", "TEST_", "CACHE", "FAULT", "SGLANG_PYTHON", "URL", "CA_FILE", "CERT_FILE", "KEY_FILE")
"""How what follows the prefix begins in variables that other processes of ours read."""
_TOKEN = (f"{PREFIX}TOKEN", f"{PREFIX}TOKEN_FILE")
"""The command line's own token."""
_SECRETS = tuple(f"{PREFIX}{name}" for name in ("API_KEY", "ADMIN_API_KEY", "REWARD_SERVER_API_KEY", "REDIS_URL"))
"""Each may be in a file instead, which the variable of the same name and _FILE names."""


class Settings(BaseModel):
    """A field `name` is the environment variable PILOTCOMMIT_NAME."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs a token file, or `allow_anonymous`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8400
    """Port to listen on."""
    redis_url: Annotated[str, Field(repr=False)] = EMBEDDED
    """redis://, rediss:// or unix:// address of the one Redis that holds the durable state (neither a Sentinel nor a
    Cluster of several nodes), or `embedded` for a private server that dies with this process."""
    data_dir: Path = Path(".pilotcommit")
    """Where the embedded Redis keeps its append-only file."""
    servers: tuple[str, ...] = ()
    """Addresses of the SGLang servers to begin with, separated by commas in the environment. What operators add and
    remove later is kept in Redis and outlives a restart."""
    servers_file: Path | None = None
    """TOML file of what differs from server to server: labels, keys, authorities, folders; a table for each address.
    It is read anew when a server is added."""
    model: Path
    """Folder with the model's config.json and tokenizer: vocabulary and context limits of every server."""
    tokens_file: Path | None = None
    """File of API tokens, made by `pilotcommit token create`; without one the API is open to whoever reaches it."""
    allow_anonymous: bool = False
    """Listen beyond loopback without a token file: whoever reaches the port can then spend the budget."""
    importable: tuple[str, ...] | None = None
    """Modules that rewards and allocators may be imported from, separated by commas, `*` for any. Left out: any without
    a token file, none with one."""
    rate_per_s: Annotated[float, Field(ge=0)] = 100.0
    """Requests a second that one token, or one address without a token, may make in the long run, and twenty times as
    many at once; 0 for as many as it likes."""
    weight_roots: tuple[Path, ...] | None = None
    """Folders that published weights must lie in, links resolved, separated by commas; left out: anywhere."""
    reachable: tuple[str, ...] | None = None
    """Hosts, addresses and networks that servers named over the API may be at, separated by commas. Left out: this
    machine and private networks without a token file, none with one. Link-local addresses are never allowed."""
    api_key: SecretStr | None = None
    """Key of the servers' data plane."""
    admin_api_key: SecretStr | None = None
    """Key of the servers' control plane, where they have one."""
    server_ca_file: Path | None = None
    """Authorities, in PEM, that have signed the certificates of https:// servers; by default the public ones."""
    server_cert_file: Path | None = None
    """Our certificate, for servers that ask for one (mutual TLS)."""
    server_key_file: Path | None = None
    """Its key."""
    tls_cert_file: Path | None = None
    """Certificate of the API, which then answers https:// only."""
    tls_key_file: Path | None = None
    """Its key."""
    tls_client_ca_file: Path | None = None
    """Authorities one of which must have signed the certificate of whoever calls (mutual TLS)."""
    max_in_flight: Annotated[int, Field(ge=1)] = 256
    """Attempts in flight per server at most; fewer while they queue there or fill its KV cache."""
    num_reward_workers: Annotated[int, Field(ge=1)] = 2
    """Processes that judge completions."""
    reward_isolation: IsolationMode = IsolationMode.BEST_EFFORT
    """Whether rewards may run where the system cannot shut them in: `required`, `best_effort` or `off`."""
    reward_user: str | None = None
    """User that rewards run as; only a scheduler that is root can start them so."""
    reward_processes: bool = False
    """Let rewards start programs, which are shut in like them and killed with them."""
    reward_memory_mib: Annotated[int, Field(ge=256)] = 4096
    """Address space of a reward process; one that imports torch may want more."""
    reward_file_mib: Annotated[int, Field(ge=0)] = 64
    """Size of a file that a reward may write."""
    reward_environment: tuple[str, ...] = ()
    """Variables that rewards see beside the harmless ones, separated by commas: never a secret of ours."""
    reward_servers: tuple[str, ...] = ()
    """Addresses of reward servers of yours, separated by commas: wherever they are, and they alone get the key. Others
    that a pool names must be reachable by `PILOTCOMMIT_REACHABLE`."""
    reward_server_api_key: SecretStr | None = None
    """Key that is sent to these."""
    reward_server_ca_file: Path | None = None
    """Authorities, in PEM, that have signed the certificates of https:// reward servers; by default the public ones."""
    reward_server_cert_file: Path | None = None
    """Our certificate, for reward servers that ask for one (mutual TLS)."""
    reward_server_key_file: Path | None = None
    """Its key."""
    reward_server_batch: Annotated[int, Field(ge=1, le=4096)] = 64
    """Completions in one request to a reward server, at most."""
    reward_server_wait_s: Annotated[float, Field(ge=0, le=60)] = 0.05
    """How long a completion waits for others before a request is sent that is not full."""
    reward_server_requests: Annotated[int, Field(ge=1)] = 8
    """Requests to one reward server at once; what comes meanwhile waits for one to end."""
    reward_server_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long one request to a reward server may take."""
    reward_server_tries: Annotated[int, Field(ge=1, le=10)] = 3
    """How often a request is sent, where no answer came or 429 or 5xx; after that its rollouts are failed."""
    drain_s: Annotated[float, Field(ge=0)] = 0.0
    """What a server has in flight when weights are pushed gets this long to end before it is retracted and prefilled
    anew. Worth the seconds that answers take, where they take few."""
    roll_out: RollOutOrder = RollOutOrder.AT_ONCE
    """at_once closes every server for new weights, each at its own pace; rolling a share of them at a time, so that the
    others go on sampling with the weights they have."""
    roll_out_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """With rolling, the share of the fleet that is closed at a time; one server at least."""
    path_map: tuple[MappedFolder, ...] = ()
    """Folders that hosts see under different names: LEARNER=SCHEDULER=SERVER, separated by commas."""
    broadcast_step_s: Annotated[float, Field(gt=0)] = 60.0
    """How long one bucket of a broadcast of weights may take before it is given up and the disk serves."""
    pilot_cap: Annotated[int, Field(ge=1)] = 256
    """Prompts in their pilots at once, at most."""
    lease_ttl_s: Annotated[float, Field(gt=0)] = 15.0
    """How long a dead scheduler's run stays out of reach of its successor."""
    probe_interval_s: Annotated[float, Field(gt=0)] = 1.0
    """Seconds between two looks at each server."""
    heartbeat_s: Annotated[float, Field(gt=0)] = 5.0
    """Longest silence on a group stream; learners are told, and take four of them for a dead scheduler."""
    completions_kept_mib: Annotated[int, Field(ge=0)] = 64
    """Of the completions of ended visits, what is kept of each run in Redis, compressed, for people who look and for
    exports; 0 keeps none."""
    stall_s: Annotated[float, Field(gt=0)] = 120.0
    """Without progress for this long, a warning says what the run waits for."""
    stop_grace_s: Annotated[float, Field(ge=0)] = 10.0
    """What is in flight at a stop gets this long to come back before it counts as lost."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Least severe level that is logged."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("api_key", "admin_api_key", "reward_server_api_key")
    @classmethod
    def _key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("a key is sent in a header: it has no spaces and nothing beyond ASCII, and is not empty")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str) -> str:
        scheme = urlsplit(value).scheme
        if "," in value or "sentinel" in scheme or "cluster" in scheme:
            raise ValueError("an address of several: one Redis holds every key, and Sentinels are not asked for it")
        if value != EMBEDDED and scheme not in ("redis", "rediss", "unix"):
            raise ValueError(f"neither {EMBEDDED!r} nor an address as in redis://127.0.0.1:6379/0")
        return value

    @field_validator(
        "servers", "importable", "reward_environment", "reward_servers", "reachable", "weight_roots", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") or "/" for part in value.split(",") if part.strip())
        return value

    @field_validator("servers", "reward_servers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            addresses = tuple(server_address(url) for url in value)
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        if len(set(addresses)) != len(addresses):
            raise ValueError("a server is named twice")
        return addresses

    @field_validator("path_map", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            folders = tuple(MappedFolder.parse(part) for part in value.split(",") if part.strip())
            PathMap(folders)
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        return folders

    @property
    def imports(self) -> Importable:
        """What may be imported for whoever submits."""
        if self.importable is not None:
            return Importable(modules=self.importable)
        return EVERYTHING if self.tokens_file is None else Importable(modules=())

    @property
    def confinement(self) -> Confinement:
        """How rewards are shut in."""
        return Confinement(
            mode=self.reward_isolation,
            user=self.reward_user,
            may_start_processes=self.reward_processes,
            memory_bytes=self.reward_memory_mib << 20,
            file_bytes=self.reward_file_mib << 20,
            environment=self.reward_environment,
        )

    @property
    def rate(self) -> Rate | None:
        """How often one caller may ask; None without a limit."""
        return Rate(per_s=self.rate_per_s, burst=max(1.0, 20 * self.rate_per_s)) if self.rate_per_s else None

    @property
    def destinations(self) -> Reachable:
        """Where servers named over the API may be."""
        if self.reachable is not None:
            return Reachable.of(self.reachable)
        return Reachable.of(LOCAL if self.tokens_file is None else ())

    @field_validator("reachable")
    @classmethod
    def _networks(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        try:
            Reachable.of(value or ())
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("model")
    @classmethod
    def _model(cls, value: Path) -> Path:
        if not (value / "config.json").is_file():
            raise ValueError("it has no config.json: name the folder of the model that the servers serve")
        return value

    @field_validator("tokens_file")
    @classmethod
    def _tokens(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                TokenFile(value).records()
            except InvalidInput as error:
                raise ValueError(f"{error}; make one with `pilotcommit token create NAME --file {value}`") from error
        return value

    @field_validator("servers_file")
    @classmethod
    def _described(cls, value: Path | None) -> Path | None:
        try:
            ServersFile(path=value).check()
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        return value

    @property
    def server_tls(self) -> ClientTls:
        """How https:// servers are trusted."""
        return ClientTls(ca_file=self.server_ca_file, cert_file=self.server_cert_file, key_file=self.server_key_file)

    @property
    def reward_server_tls(self) -> ClientTls:
        """How https:// reward servers are trusted."""
        return ClientTls(
            ca_file=self.reward_server_ca_file,
            cert_file=self.reward_server_cert_file,
            key_file=self.reward_server_key_file,
        )

    @property
    def reward_server_terms(self) -> Terms:
        """How reward servers are asked."""
        return Terms(
            batch=self.reward_server_batch,
            wait_s=self.reward_server_wait_s,
            requests=self.reward_server_requests,
            timeout_s=self.reward_server_timeout_s,
            tries=self.reward_server_tries,
        )

    @model_validator(mode="after")
    def _certified(self) -> Self:
        try:
            self.server_tls.context()
            self.reward_server_tls.context()
            ClientTls(
                ca_file=self.tls_client_ca_file, cert_file=self.tls_cert_file, key_file=self.tls_key_file
            ).context()
        except InvalidInput as error:
            raise ValueError(f"TLS: {error}") from error
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError(
                "PILOTCOMMIT_TLS_CLIENT_CA_FILE asks callers for certificates, but the API has none itself"
            )
        return self

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.tokens_file is None and not self.allow_anonymous and not _is_loopback(self.host):
            raise ValueError(
                f"PILOTCOMMIT_HOST is {self.host!r} and there are no tokens: name a file of `pilotcommit token create` "
                "in PILOTCOMMIT_TOKENS_FILE, or set PILOTCOMMIT_ALLOW_ANONYMOUS=true where the whole network may "
                "spend the budget"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ModellessSettings(Settings):
    """The settings of a scheduler that is not to be started: what it needs a model for is left out."""

    model: Path = Path()
    """Named or not; the current folder stands for none."""


SettingsT = TypeVar("SettingsT", bound=Settings)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in a process's environment; raises InvalidInput with every variable at fault and its value."""
    return settings_of(Settings, environ)


def settings_of(kind: type[SettingsT], environ: Mapping[str, str]) -> SettingsT:
    """Settings of a kind; raises as `load_settings`."""
    environ = with_secrets(environ, _SECRETS)
    fields = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    others = tuple(f"{PREFIX}{name}" for name in _OF_OTHERS)
    unknown = sorted(
        name
        for name in environ
        if name.startswith(PREFIX) and not name.startswith(others) and name not in fields and name not in _TOKEN
    )
    if unknown:
        raise InvalidInput(f"unknown: {', '.join(unknown)}; known are {', '.join(sorted(fields))}", field=unknown[0])
    try:
        return kind.model_validate({fields[name]: environ[name] for name in environ.keys() & fields.keys()})
    except ValidationError as error:
        faults = error.errors()
        raise InvalidInput(
            "; ".join(_told(fault, environ) for fault in faults), field=_variable(faults[0]) or None
        ) from error


def _variable(fault: ErrorDetails) -> str:
    return f"{PREFIX}{str(fault['loc'][0]).upper()}" if fault["loc"] else ""


def _told(fault: ErrorDetails, environ: Mapping[str, str]) -> str:
    name = _variable(fault)
    if not name:
        return fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"{name} is missing"
    return f"{name} is {_shown(name, environ[name])}: {fault['msg'].removeprefix('Value error, ')}"


def _shown(name: str, value: str) -> str:
    """The value, or as much of it as is no secret."""
    if name not in _SECRETS:
        return repr(value)
    return repr(value.rpartition("@")[2]) if name.endswith("REDIS_URL") else "not shown"
