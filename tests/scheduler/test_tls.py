"""Who is trusted: servers by the scheduler, the scheduler by its clients, and callers by the scheduler."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn

from inference.client import ServerClient
from inference.protocol import ModelLimits
from scheduler.api.app import create_app
from scheduler.client import Client
from scheduler.core.errors import ControlFailed, InferenceError, InvalidInput, ServerUnavailable
from scheduler.learner_link import LearnerLink
from scheduler.service import Service
from scheduler.tls import ClientTls
from tests.certificates import Authority, Identity

LIMITS = ModelLimits(vocab_size=8, context_length=8)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Identity:
    return authority.issue("localhost")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything is fine, says this server."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
    await writer.drain()
    writer.close()


@asynccontextmanager
async def _server(identity: Identity, *, wants: Path | None = None) -> AsyncIterator[int]:
    """A port that answers over TLS; `wants` is the authority that callers must have a certificate of."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(wants) if wants else None)
    context.verify_mode = ssl.CERT_REQUIRED if wants else ssl.CERT_NONE
    context.load_cert_chain(identity.cert_file, identity.key_file)
    async with await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def test_files_of_one_server_go_over_the_general_ones_one_by_one_and_a_certificate_with_its_key() -> None:
    general = ClientTls(ca_file=Path("all/ca"), cert_file=Path("all/cert"), key_file=Path("all/key"))
    assert ClientTls().over(general) == general
    assert general.over(ClientTls()) == general
    authority = ClientTls(ca_file=Path("own/ca")).over(general)
    assert authority == ClientTls(ca_file=Path("own/ca"), cert_file=Path("all/cert"), key_file=Path("all/key"))
    # A certificate may have its key in the same file: that of another one does not belong to it.
    certificate = ClientTls(cert_file=Path("own/both")).over(general)
    assert certificate == ClientTls(ca_file=Path("all/ca"), cert_file=Path("own/both"))
    with pytest.raises(InvalidInput, match="the key own/key has no certificate"):
        ClientTls(key_file=Path("own/key")).over(general).context()


async def _pause(port: int, tls: ClientTls, *, name: str = "localhost", address: str | None = "127.0.0.1") -> None:
    client = ServerClient(f"https://{name}:{port}", LIMITS, tls=tls.context(), address=address)
    try:
        await client.pause()
    finally:
        await client.aclose()


async def test_a_server_is_trusted_by_the_authority_that_signed_it(authority: Authority, ours: Identity) -> None:
    async with _server(ours) as port:
        await _pause(port, ClientTls(ca_file=authority.ca_file))


@pytest.mark.parametrize("trusted", ["public authorities", "another one"])
async def test_a_server_signed_by_somebody_else_is_sent_nothing(
    ours: Identity, stranger: Authority, trusted: str
) -> None:
    tls = ClientTls(ca_file=stranger.ca_file) if trusted == "another one" else ClientTls()
    async with _server(ours) as port:
        with pytest.raises(ServerUnavailable, match=r"CERTIFICATE_VERIFY_FAILED.*PILOTCOMMIT_SERVER_CA_FILE"):
            await _pause(port, tls)


async def test_a_certificate_for_another_name_is_refused_at_a_pinned_address_too(
    authority: Authority, ours: Identity
) -> None:
    async with _server(ours) as port:
        with pytest.raises(ServerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await _pause(port, ClientTls(ca_file=authority.ca_file), name="elsewhere.example")


async def test_a_server_that_wants_certificates_takes_those_of_its_authority_only(
    authority: Authority, stranger: Authority, ours: Identity
) -> None:
    mine, foreign = authority.issue("127.0.0.1"), stranger.issue("127.0.0.1")
    async with _server(ours, wants=authority.ca_file) as port:
        await _pause(port, ClientTls(ca_file=authority.ca_file, cert_file=mine.cert_file, key_file=mine.key_file))
        with pytest.raises(InferenceError):
            await _pause(
                port, ClientTls(ca_file=authority.ca_file, cert_file=foreign.cert_file, key_file=foreign.key_file)
            )
        with pytest.raises(ControlFailed, match=r"PILOTCOMMIT_SERVER_CERT_FILE"):
            await _pause(port, ClientTls(ca_file=authority.ca_file))


@asynccontextmanager
async def _scheduler(service: Service, identity: Identity, wants: Path) -> AsyncIterator[str]:
    """The API over TLS as the scheduler serves it, asking for certificates."""
    config = uvicorn.Config(
        create_app(service),
        port=0,
        lifespan="off",
        log_config=None,
        ssl_certfile=identity.cert_file,
        ssl_keyfile=identity.key_file,
        ssl_ca_certs=str(wants),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
    try:
        yield f"https://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def test_the_api_answers_whoever_has_a_certificate_and_trusts_it(
    service: Service, authority: Authority, stranger: Authority, ours: Identity
) -> None:
    mine = authority.issue("127.0.0.1")
    tls = ClientTls(ca_file=authority.ca_file, cert_file=mine.cert_file, key_file=mine.key_file)

    def runs(context: ssl.SSLContext | None) -> object:
        with Client(url, tls=context) as client:
            return client.runs()

    async with _scheduler(service, ours, authority.ca_file) as url:
        assert await asyncio.to_thread(runs, tls.context()) == []
        with pytest.raises(ServerUnavailable, match="PILOTCOMMIT_CA_FILE"):
            await asyncio.to_thread(runs, ClientTls(ca_file=stranger.ca_file).context())
        with pytest.raises(ServerUnavailable):
            await asyncio.to_thread(runs, ClientTls(ca_file=authority.ca_file).context())
        async with LearnerLink(url, "run", tls=ClientTls(ca_file=authority.ca_file).context(), patience_s=0) as link:
            with pytest.raises(ServerUnavailable):
                await link.weights_in_use()
        async with LearnerLink(url, "no-such-run", tls=tls.context()) as link:
            with pytest.raises(InvalidInput, match="no-such-run"):
                await link.weights_in_use()


def test_without_files_the_default_will_do() -> None:
    assert ClientTls().context() is None


def test_files_are_named_in_the_environment(authority: Authority) -> None:
    environ = {"X_CA_FILE": str(authority.ca_file), "X_CERT_FILE": ""}
    assert ClientTls.of_environment(environ, "X_") == ClientTls(ca_file=authority.ca_file)


@pytest.mark.parametrize("field", ["ca_file", "cert_file"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, authority: Authority, field: str) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    for path, why in ((broken, "not in PEM"), (tmp_path / "absent.pem", "cannot be read")):
        with pytest.raises(InvalidInput, match=why) as refusal:
            ClientTls(**{field: path}).context()
        assert refusal.value.field == field
        assert str(path) in str(refusal.value)
    with pytest.raises(InvalidInput, match="has no certificate"):
        ClientTls(key_file=broken).context()
    with pytest.raises(InvalidInput, match="cannot be used"):
        ClientTls(cert_file=authority.ca_file).context()
