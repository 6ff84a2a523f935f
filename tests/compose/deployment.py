"""One deployment of the compose file, under a name and on ports of its own.

Owns: what is asked of Docker Compose. Invariant: after `removed` neither a container, a network nor a volume is left.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from deploy.lint import COMPOSE_FILE, ROOT, compose
from scheduler.ports import free_port
from tests.compose.engine import Engine
from tests.compose.wheels import has_own_torch

PROJECT = "pilotcommit-test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What the engine says of one container."""

    service: str
    user: str
    state: str
    exit_code: int
    health: str
    """Empty where it has no health check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The profile `cpu` with a small budget."""

    engine: Engine
    budget_rollouts: int
    ports: Mapping[str, int] = field(
        default_factory=lambda: {name: free_port() for name in ("SCHEDULER", "PROMETHEUS", "GRAFANA")}
    )

    def url(self, name: str) -> str:
        """Where one of the published services answers."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def compose(self, *arguments: str, profile: str = "cpu") -> str:
        """What `docker compose` prints; raises subprocess.CalledProcessError with what it says."""
        settings = {f"{name}_PORT": str(port) for name, port in self.ports.items()}
        settings |= {"DEMO_BUDGET_ROLLOUTS": str(self.budget_rollouts), "COMPOSE_PROFILES": profile}
        if has_own_torch():
            settings["TORCH_INDEX"] = ""
        # What somebody set for a deployment of their own, in .env, is not what is tested.
        where = ("--file", str(COMPOSE_FILE), "--env-file", str(ROOT / ".env.example"), "--project-name", PROJECT)
        command = (*compose(), *where)
        done = subprocess.run(
            (*command, *arguments), env={**self.engine.environment, **settings}, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def up(self, services: Sequence[str]) -> None:
        """Start services and what they depend on."""
        self.compose("up", "--detach", "--no-build", *services)

    def run(self, service: str, *arguments: str, entrypoint: str | None = None) -> str:
        """What one run of a service prints."""
        entry = ("--entrypoint", entrypoint) if entrypoint else ()
        return self.compose("run", "--rm", "--no-deps", *entry, service, *arguments, profile="cpu,cli")

    def containers(self) -> list[Container]:
        """Every container, ended ones included."""
        ids = self.compose("ps", "--all", "--quiet").split()
        found = json.loads(self.engine.docker("inspect", *ids)) if ids else []
        return [
            Container(
                service=each["Config"]["Labels"]["com.docker.compose.service"],
                user=each["Config"]["User"],
                state=each["State"]["Status"],
                exit_code=each["State"]["ExitCode"],
                health=each["State"].get("Health", {}).get("Status", ""),
            )
            for each in found
        ]

    def logs(self) -> str:
        """The end of what every service said."""
        return self.compose("logs", "--no-color", "--tail", "40")


@contextmanager
def removed(deployment: Deployment) -> Iterator[None]:
    """Remove the deployment when the block ends, and before it begins: a run that was killed may have left one."""
    deployment.compose("down", "--volumes", "--remove-orphans", profile="cpu,cli")
    try:
        yield
    finally:
        deployment.compose("down", "--volumes", "--remove-orphans", profile="cpu,cli")
