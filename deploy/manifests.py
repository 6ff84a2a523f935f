"""The Kubernetes manifests of `deploy/kubernetes`.

Owns: finding them and reading them. Never judges them (`deploy.kubernetes_lint` does). Invariant: what is read is all
that is there, whether a kustomization lists it or not.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import yaml
from pydantic import BaseModel

from deploy.manifest_views import Kustomization, Metadata, ServiceSpec, WorkloadSpec

FOLDER = Path(__file__).parent / "kubernetes"
KUSTOMIZATION = "kustomization.yaml"
WORKLOADS = frozenset({"Deployment", "StatefulSet", "Job"})
"""Kinds that start pods."""
Document = Mapping[str, object]
ViewT = TypeVar("ViewT", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One object, and where it is written."""

    where: str
    document: Document

    @property
    def api_version(self) -> str:
        """Group and version."""
        return str(self.document.get("apiVersion", ""))

    @property
    def kind(self) -> str:
        """As in Deployment."""
        return str(self.document.get("kind", ""))

    @property
    def metadata(self) -> Metadata:
        """Its name and labels."""
        return Metadata.model_validate(self.document.get("metadata") or {})

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.where}: {self.kind} {self.metadata.name}"

    def spec(self, kind: type[ViewT]) -> ViewT:
        """What it says, seen so; raises pydantic's ValidationError where that is not there."""
        return kind.model_validate(self.document.get("spec"))

    @classmethod
    def read(cls, text: str, where: str) -> Iterator[Self]:
        """Every object of a file; raises yaml.YAMLError, and ValueError for what is no object."""
        for document in yaml.safe_load_all(text):
            if not isinstance(document, dict):
                raise ValueError(f"a manifest is a mapping, not {document!r}")
            yield cls(where=where, document=document)


def files(folder: Path = FOLDER) -> list[Path]:
    """Every file with manifests, of all folders."""
    return sorted(path for path in folder.rglob("*.yaml") if path.name != KUSTOMIZATION)


def manifests(folder: Path = FOLDER) -> list[Manifest]:
    """Every manifest, of all folders."""
    return [
        manifest
        for path in files(folder)
        for manifest in Manifest.read(path.read_text(), str(path.relative_to(folder)))
    ]


def workloads(of: Iterable[Manifest]) -> Mapping[str, WorkloadSpec]:
    """Whatever starts pods, by its name."""
    return {each.metadata.name: each.spec(WorkloadSpec) for each in of if each.kind in WORKLOADS}


def services(of: Iterable[Manifest]) -> Mapping[str, ServiceSpec]:
    """Every Service, by its name."""
    return {each.metadata.name: each.spec(ServiceSpec) for each in of if each.kind == "Service"}


def kustomizations(folder: Path = FOLDER) -> Mapping[Path, Kustomization]:
    """What each folder is made of."""
    return {
        path.parent: Kustomization.model_validate(yaml.safe_load(path.read_text()))
        for path in sorted(folder.rglob(KUSTOMIZATION))
    }


def variables(path: Path) -> Mapping[str, str]:
    """A file of variables, as kustomize reads it."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.partition("=")[::2] for line in lines)


def config_maps(folder: Path = FOLDER) -> Mapping[str, Mapping[str, str]]:
    """What each ConfigMap that kustomize makes begins with, before an overlay changes it."""
    return {
        generator.name: {key: value for name in generator.envs for key, value in variables(parent / name).items()}
        for parent, kustomization in kustomizations(folder).items()
        for generator in kustomization.config_map_generator
        if generator.envs
    }
