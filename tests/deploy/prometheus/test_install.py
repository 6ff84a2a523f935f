"""How Prometheus is found, and fetched where nobody installed it."""

import subprocess
from pathlib import Path

import pytest

from deploy.prometheus.install import find, unpack


def program(path: Path) -> Path:
    """An executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


class Debian:
    """Answers commands as apt and dpkg do, and writes down what it was told."""

    def __init__(self, *, knows_packages: bool = True, has_package: bool = True) -> None:
        self.told: list[str] = []
        self._knows_packages = knows_packages
        self._has_package = has_package

    def __call__(self, argv: tuple[str, ...], where: Path) -> None:
        self.told.append(" ".join(argv[:2]))
        match argv:
            case ("apt-get", "update"):
                self._knows_packages = True
            case ("apt-get", "download", "prometheus") if self._knows_packages and self._has_package:
                (where / "prometheus_2.42.0_amd64.deb").write_bytes(b"")
            case ("dpkg-deb", "--extract", _, folder):
                for name in ("prometheus", "promtool"):
                    program(Path(folder) / "usr" / "bin" / name)
            case _:
                raise subprocess.CalledProcessError(100, argv)


def test_a_prometheus_on_the_path_is_taken_before_one_that_was_unpacked(tmp_path: Path) -> None:
    system, unpacked = tmp_path / "system", tmp_path / "unpacked"
    for name in ("prometheus", "promtool"):
        program(system / name)
        program(unpacked / "usr" / "bin" / name)
    found = find(str(system), unpacked)
    assert found is not None
    assert (found.server, found.promtool) == (system / "prometheus", system / "promtool")
    (system / "promtool").unlink()
    found = find(str(system), unpacked)
    assert found is not None
    assert found.server.parent == found.promtool.parent == unpacked / "usr" / "bin"


def test_debians_package_is_unpacked_once_into_the_cache(tmp_path: Path) -> None:
    debian = Debian()
    unpack(tmp_path / "prometheus", debian)
    unpack(tmp_path / "prometheus", debian)
    assert debian.told == ["apt-get download", "dpkg-deb --extract"]
    assert find(str(tmp_path / "nowhere"), tmp_path / "prometheus") is not None


def test_a_new_machine_is_told_which_packages_there_are(tmp_path: Path) -> None:
    debian = Debian(knows_packages=False)
    unpack(tmp_path / "prometheus", debian)
    assert debian.told == ["apt-get download", "apt-get update", "apt-get download", "dpkg-deb --extract"]


def test_what_cannot_be_fetched_leaves_nothing_that_looks_like_it(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        unpack(tmp_path / "prometheus", Debian(has_package=False))
    assert find(str(tmp_path / "nowhere"), tmp_path / "prometheus") is None
    assert [path.name for path in tmp_path.iterdir()] == ["prometheus.lock"]
