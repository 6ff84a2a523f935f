"""The images that the compose file names: built, pulled, or stood in for.

Owns: where each comes from. Invariant: what could not be had is said, and nothing that stands in for an image has
another name than the image.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from tests.compose.engine import Engine, Say
from tests.compose.wheels import pip_configuration

STAND_INS = Path(__file__).parent / "stand_ins"
_MINIMAL = "localhost/bookworm:minbase"
PYTHON = "python:3.11-slim-bookworm"
"""What our Dockerfiles are made from."""
_BY_REPOSITORY = {"python": "python", "redis": "redis", "prom/prometheus": "prometheus"}
"""The Dockerfile in `stand_ins` that stands in for an image, by its repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The images of some services."""

    engine: Engine
    say: Say

    def prepare(self, services: Mapping[str, Mapping[str, object]]) -> set[str]:
        """Have the images of these services, of a compose file; returns the services whose image cannot be had."""
        self._have(PYTHON)
        plans = {str(service["image"]): service["build"] for service in services.values() if "build" in service}
        with pip_configuration() as configuration:
            for image, plan in plans.items():
                self._build(image, plan, configuration)
        return {
            name
            for name, service in services.items()
            if service["image"] not in plans and not self._have(str(service["image"]))
        }

    def _have(self, image: str) -> bool:
        """Pull an image, or make what stands in for it; whether there is either."""
        if self.engine.has(image):
            return True
        try:
            self.engine.docker("pull", "--quiet", image)
        except subprocess.CalledProcessError as exc:
            why = exc.stderr.decode().strip().splitlines()[-1]
            stand_in = _BY_REPOSITORY.get(image.rpartition(":")[0])
            if stand_in is None:
                self.say(f"{image} cannot be pulled, and nothing stands in for it: {why}")
                return False
            self.say(f"{image} cannot be pulled: Debian's packages stand in for it ({why})")
            self._bootstrap()
            dockerfile = str(STAND_INS / f"{stand_in}.Dockerfile")
            self.engine.docker(
                "build", "--network", "host", "--quiet", "--tag", image, "--file", dockerfile, str(STAND_INS)
            )
        return True

    def _bootstrap(self) -> None:
        """A minimal Debian under the name that the stand-ins are made from."""
        if self.engine.has(_MINIMAL):
            return
        self.say("making a minimal Debian: a minute")
        with TemporaryDirectory() as folder:
            root, archive = Path(folder) / "root", Path(folder) / "root.tar"
            subprocess.run(("apt-get", "-qq", "install", "-y", "debootstrap"), check=True, capture_output=True)
            subprocess.run(
                ("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(root)),
                check=True,
                capture_output=True,
            )
            _trust_as_here(root)
            subprocess.run(("tar", "-C", str(root), "-cf", str(archive), "."), check=True)
            self.engine.docker("import", str(archive), _MINIMAL)

    def _build(self, image: str, plan: object, configuration: Path) -> None:
        assert isinstance(plan, dict)
        self.say(f"building {image}")
        arguments = [
            part for name, value in plan.get("args", {}).items() for part in ("--build-arg", f"{name}={value}")
        ]
        target = ["--target", plan["target"]] if "target" in plan else []
        self.engine.docker(
            *("build", "--network", "host", "--quiet", "--tag", image, "--secret", f"id=pip,src={configuration}"),
            *("--file", str(Path(plan["context"]) / plan["dockerfile"])),
            *arguments,
            *target,
            plan["context"],
        )


def services_of(configuration: str) -> Mapping[str, Mapping[str, object]]:
    """The services in what `docker compose config` prints."""
    services: Mapping[str, Mapping[str, object]] = yaml.safe_load(configuration)["services"]
    return services


def _trust_as_here(root: Path) -> None:
    """Whom this machine trusts, its image has to: a package index may be behind an authority of its own."""
    here = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    if here.is_file():
        (root / "etc/ssl/certs/ca-certificates.crt").write_bytes(here.read_bytes())
