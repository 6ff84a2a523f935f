"""Checks the Kubernetes manifests without a cluster: `python -m deploy.kubernetes_lint`.

Owns: what is wrong with a manifest by itself, with what it names, and with the lists of files. Never asks a cluster or
the network. Invariant: a kind that nothing here can judge is a fault; it is never passed over in silence.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import kubernetes_validate
import yaml
from pydantic import ValidationError

from deploy.manifest_views import BudgetSpec, Container, Monitor, PolicySpec, Selector, ServiceSpec, WorkloadSpec
from deploy.manifests import (
    FOLDER,
    KUSTOMIZATION,
    WORKLOADS,
    Manifest,
    config_maps,
    files,
    kustomizations,
    manifests,
    services,
    workloads,
)

VERSIONS = ("1.29", "1.37")
"""The oldest Kubernetes whose schema has to hold, and the newest."""
MONITOR = ("monitoring.coreos.com/v1", "ServiceMonitor")


def schema_faults(manifest: Manifest) -> Iterator[str]:
    """What the schema of its kind does not allow, unknown fields included."""
    if (manifest.api_version, manifest.kind) == MONITOR:
        try:
            Monitor.model_validate(manifest.document)
        except ValidationError as error:
            yield from (f"{manifest.title}: {_path(fault['loc'])}: {fault['msg']}" for fault in error.errors())
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest.document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{manifest.title}: {_path(error.path)}: {error.message} (Kubernetes {version})"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{manifest.title}: {error.message}"


def _path(parts: Iterable[object]) -> str:
    return ".".join(map(str, parts)) or "(all of it)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a manifest may name."""

    pods: Mapping[str, WorkloadSpec]
    """By the name of what starts them."""
    services: Sequence[Manifest]
    claims: frozenset[str]
    config: Mapping[str, Iterable[str]] = field(default_factory=dict)
    """The keys of each ConfigMap."""

    @classmethod
    def of(cls, found: Sequence[Manifest], config: Mapping[str, Iterable[str]]) -> Self:
        """All that is there."""
        return cls(
            pods=workloads(found),
            services=[each for each in found if each.kind == "Service"],
            claims=frozenset(each.metadata.name for each in found if each.kind == "PersistentVolumeClaim"),
            config=config,
        )

    def selected(self, selector: Selector) -> list[str]:
        """Whose pods are meant."""
        return [name for name, spec in self.pods.items() if selector.selects(spec.template.metadata.labels)]

    def ports(self, names: Iterable[str]) -> set[str | int]:
        """What their pods call their ports."""
        return {port.name for name in names for each in self.pods[name].template.spec.containers for port in each.ports}


def reference_faults(manifest: Manifest, around: Surroundings) -> Iterator[str]:
    """What it names and is not there."""
    said: Iterable[str] = ()
    if manifest.kind in WORKLOADS:
        said = _workload_faults(manifest.spec(WorkloadSpec), around)
    elif manifest.kind == "Service":
        said = _service_faults(manifest.spec(ServiceSpec), around)
    elif manifest.kind == "PodDisruptionBudget":
        said = _selector_faults(manifest.spec(BudgetSpec).selector, around)
    elif manifest.kind == "NetworkPolicy":
        said = _policy_faults(manifest.spec(PolicySpec), around)
    elif manifest.kind == "ServiceMonitor":
        said = _monitor_faults(Monitor.model_validate(manifest.document), around)
    yield from (f"{manifest.title}: {fault}" for fault in said)


def _workload_faults(spec: WorkloadSpec, around: Surroundings) -> Iterator[str]:
    if spec.selector is not None and not spec.selector.selects(spec.template.metadata.labels):
        yield "its selector does not select its own pods"
    if spec.service_name is not None and spec.service_name not in services(around.services):
        yield f"there is no Service {spec.service_name}"
    volumes = {volume.name for volume in spec.template.spec.volumes}
    volumes |= {claim.metadata.name for claim in spec.volume_claim_templates}
    for volume in spec.template.spec.volumes:
        claim = volume.persistent_volume_claim
        if claim is not None and claim.claim_name not in around.claims:
            yield f"there is no claim {claim.claim_name}"
    for container in spec.template.spec.containers:
        yield from (f"no volume is called {each.name}" for each in container.volume_mounts if each.name not in volumes)
        yield from _probe_faults(container)
        yield from _variable_faults(container, around.config)


def _probe_faults(container: Container) -> Iterator[str]:
    ports = {port.name for port in container.ports}
    for probe in container.probes:
        if probe.http_get is not None and probe.http_get.port not in ports:
            yield f"a probe asks port {probe.http_get.port}, which the container does not name"


def _variable_faults(container: Container, config: Mapping[str, Iterable[str]]) -> Iterator[str]:
    seen = set[str]()
    for variable in container.env:
        key = variable.value_from.config_map_key_ref
        if key is not None and key.key not in config.get(key.name, ()):
            yield f"{variable.name}: ConfigMap {key.name} has no key {key.key}"
        # The kubelet puts in only what is above.
        yield from (f"{variable.name}: {name} is not set above it" for name in sorted(_named(variable.value) - seen))
        seen.add(variable.name)
    for word in (*container.command, *container.args):
        yield from (f"{word}: there is no variable {name}" for name in sorted(_named(word) - seen))


def _named(text: str) -> set[str]:
    """Variables that the kubelet puts in, as in $(NAME)."""
    return {part.partition(")")[0] for part in text.split("$(")[1:]}


def _service_faults(spec: ServiceSpec, around: Surroundings) -> Iterator[str]:
    behind = around.selected(Selector(match_labels=spec.selector))
    if len(behind) != 1:
        yield f"it stands before {' and '.join(behind) or 'no pod'}, and not before pods of one kind"
    for port in spec.ports:
        if port.target_port not in around.ports(behind):
            yield f"no pod behind it names a port {port.target_port}"


def _policy_faults(spec: PolicySpec, around: Surroundings) -> Iterator[str]:
    yield from _selector_faults(spec.pod_selector, around)
    there = around.ports(around.selected(spec.pod_selector))
    for rule in spec.ingress:
        yield from (f"it opens a port {each.port} that nobody has" for each in rule.ports if each.port not in there)


def _selector_faults(selector: Selector, around: Surroundings) -> Iterator[str]:
    if not around.selected(selector):
        yield "it selects no pod"


def _monitor_faults(monitor: Monitor, around: Surroundings) -> Iterator[str]:
    selector = Selector(match_labels=monitor.spec.selector.match_labels)
    found = [each for each in around.services if selector.selects(each.metadata.labels)]
    if len(found) != 1:
        yield f"it selects {len(found)} Services, and not one"
    ports = {port.name for each in found for port in each.spec(ServiceSpec).ports}
    for endpoint in monitor.spec.endpoints:
        if endpoint.port not in ports:
            yield f"its Service names no port {endpoint.port}"


def listing_faults(folder: Path) -> Iterator[str]:
    """Files that no kustomization lists, and what one lists that is not there."""
    listed = {parent / name for parent, each in kustomizations(folder).items() for name in each.resources}
    there = set(files(folder))
    yield from (f"{path.relative_to(folder)}: no {KUSTOMIZATION} lists it" for path in sorted(there - listed))
    for path in sorted(listed - there):
        if not (path / KUSTOMIZATION).is_file():
            yield f"{path.parent.relative_to(folder) / KUSTOMIZATION}: there is no {path.name}"


def faults(folder: Path = FOLDER) -> list[str]:
    """Everything that is wrong in a folder; what manifests name is looked at once each is right by itself."""
    try:
        found = manifests(folder)
    except (yaml.YAMLError, ValueError) as error:
        return [str(error)]
    said = [fault for manifest in found for fault in schema_faults(manifest)]
    counted = Counter((each.kind, each.metadata.name) for each in found)
    said += [f"there are {number} of {kind} {name}" for (kind, name), number in counted.items() if number > 1]
    said += listing_faults(folder)
    if not said:
        around = Surroundings.of(found, config_maps(folder))
        said += [fault for manifest in found for fault in reference_faults(manifest, around)]
    return said


def main() -> int:
    """Say what is wrong; the exit code says whether all is well."""
    found = faults()
    sys.stderr.writelines(f"{fault}\n" for fault in found)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
