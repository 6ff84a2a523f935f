"""Checks the compose file, the Dockerfiles, the Kubernetes manifests and the documentation: `python -m deploy.lint`.

Owns: which tools look at which file, and where they are. Never changes a file. Invariant: a tool that cannot run here
is named with the reason; it is never passed over in silence.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deploy.manifests import FOLDER as KUBERNETES
from deploy.manifests import KUSTOMIZATION

ROOT = Path(__file__).parents[1]
COMPOSE_FILE = ROOT / "docker-compose.yml"
PROFILES = ("cpu", "gpu", "cli")
_BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One tool at one thing."""

    title: str
    argv: tuple[str, ...]


def compose() -> tuple[str, ...]:
    """Docker Compose: out of the package that ships it, whose own wrapper always exits with 0, else the system's."""
    found = find_spec("compose")
    for folder in (found.submodule_search_locations if found else None) or ():
        if (binary := Path(folder) / "docker-compose").is_file():
            return (str(binary),)
    return ("docker", "compose")


def dockerfiles() -> list[Path]:
    """Every Dockerfile here, those of the tests included."""
    return sorted(path for folder in ("deploy", "tests") for path in (ROOT / folder).rglob("*Dockerfile"))


def looks() -> Iterator[Look]:
    """What is looked at, and how."""
    read = (*compose(), "--file", str(COMPOSE_FILE), "--env-file", str(ROOT / ".env.example"))
    for profile in PROFILES:
        yield Look(title=f"compose, profile {profile}", argv=(*read, "--profile", profile, "config", "--quiet"))
    yield Look(title="compose-lint", argv=(str(_BIN / "compose-lint"), "check", "--no-env", str(COMPOSE_FILE)))
    yield Look(title="hadolint", argv=(str(_BIN / "hadolint"), *map(str, dockerfiles())))
    # Never with --quiet: what is not logged is not counted, and a link that leads nowhere passes.
    yield Look(title="documentation", argv=(sys.executable, "-m", "mkdocs", "build", "--strict"))
    yield Look(title="kubernetes", argv=(sys.executable, "-m", "deploy.kubernetes_lint"))
    for folder in sorted(path.parent for path in KUBERNETES.rglob(KUSTOMIZATION)):
        yield Look(title=f"kustomize, {folder.name}", argv=("kubectl", "kustomize", str(folder)))


def why_not(look: Look) -> str:
    """Empty if a tool finds nothing wrong or is not to be had here, which is said; else what it found."""
    # What somebody set for a deployment of their own is not what is looked at.
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "")}
    try:
        done = subprocess.run(look.argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    except OSError as exc:
        sys.stderr.write(f"{look.title}: NOT CHECKED, {look.argv[0]} does not run on this machine: {exc.strerror}\n")
        return ""
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}".strip() or f"exit code {done.returncode}"


def main() -> int:
    """Look at everything; the exit code says whether all is well."""
    found = {look.title: why_not(look) for look in looks()}
    for title, problem in found.items():
        if problem:
            sys.stderr.write(f"{title}:\n{problem}\n")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
