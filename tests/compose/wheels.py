"""What pip finds on this machine, for builds that run apart from it.

Owns: reading pip's configuration, and serving folders of wheels for as long as they are needed. Never installs.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread


def has_own_torch() -> bool:
    """Whether pip has a wheel of torch on this machine: then no other index is asked for a smaller one."""
    return any(any(folder.glob("torch-*.whl")) for folder in _folders())


@contextmanager
def pip_configuration() -> Iterator[Path]:
    """A pip.conf for the builds that finds what pip finds here; folders of wheels are served to them over HTTP."""
    indexes = _told("index-url")
    with TemporaryDirectory() as temporary:
        servers = [_serve(folder) for folder in _folders()]
        lines = ["[global]", "trusted-host = 127.0.0.1", "cert = /etc/ssl/certs/ca-certificates.crt"]
        lines += [f"index-url = {index}" for index in indexes[:1]]
        if servers:
            served = " ".join(f"http://127.0.0.1:{server.server_address[1]}/" for server in servers)
            lines.append(f"find-links = {served}")
        path = Path(temporary) / "pip.conf"
        path.write_text("\n".join(lines) + "\n")
        try:
            yield path
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _serve(folder: Path) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def _folders() -> list[Path]:
    return [Path(link) for link in _told("find-links") if Path(link).is_dir()]


@cache
def _told(setting: str) -> tuple[str, ...]:
    """What pip is told of a setting, in its files and in the environment."""
    listed = subprocess.run((sys.executable, "-m", "pip", "config", "list"), check=True, capture_output=True, text=True)
    lines = (line.partition("=") for line in listed.stdout.splitlines())
    values = (value.strip("'") for name, _, value in lines if name.endswith(f".{setting}"))
    return tuple(dict.fromkeys(part for value in values for part in value.split()))
