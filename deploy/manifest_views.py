"""Kubernetes objects, as far as we look into them.

Owns: typed views of their fields, under our spelling of the names. Never reads a file. Invariants: a view is taken of
an object whose schema holds, so what no view names is left to the schema; where no schema is bundled, for monitors of
the Prometheus operator, the view has every field that may be there.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class View(BaseModel):
    """Some fields of an object, under our spelling of their names."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Metadata(View):
    """What an object is called."""

    name: str = ""
    labels: Mapping[str, str] = {}


class Requirement(View):
    """A condition of a selector on one label."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Selector(View):
    """Objects by their labels."""

    match_labels: Mapping[str, str] = {}
    match_expressions: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether it is met; of the operators, In is the one that we use."""
        return self.match_labels.items() <= labels.items() and all(
            requirement.operator == "In" and labels.get(requirement.key) in requirement.values
            for requirement in self.match_expressions
        )


class KeyOf(View):
    """One key of a ConfigMap or a Secret."""

    name: str
    key: str
    optional: bool = False


class Source(View):
    """Where a variable's value is."""

    config_map_key_ref: KeyOf | None = None
    secret_key_ref: KeyOf | None = None


class Variable(View):
    """One variable of a container."""

    name: str
    value: str = ""
    value_from: Source = Source()


class ContainerPort(View):
    """A port that a container listens on."""

    name: str
    container_port: int


class HttpGet(View):
    """A question of a probe."""

    path: str
    port: str | int


class Probe(View):
    """How the kubelet looks at a container."""

    http_get: HttpGet | None = None
    period_seconds: int = 10
    failure_threshold: int = 3


class Mount(View):
    """A volume in a container."""

    name: str
    mount_path: str
    read_only: bool = False


class Resources(View):
    """What a container asks for and may take."""

    requests: Mapping[str, str | int] = {}
    limits: Mapping[str, str | int] = {}


class Capabilities(View):
    """Of a process."""

    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()


class ContainerSecurity(View):
    """Rights of a container."""

    allow_privilege_escalation: bool = True
    read_only_root_filesystem: bool = False
    capabilities: Capabilities = Capabilities()


class Container(View):
    """One process with its image."""

    name: str
    image: str
    image_pull_policy: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    resources: Resources = Resources()
    security_context: ContainerSecurity = ContainerSecurity()
    volume_mounts: tuple[Mount, ...] = ()

    @property
    def probes(self) -> Sequence[Probe]:
        """Those that it has."""
        return [probe for probe in (self.startup_probe, self.liveness_probe, self.readiness_probe) if probe is not None]


class ClaimVolume(View):
    """Names a claim."""

    claim_name: str


class SecretVolume(View):
    """Names a Secret."""

    secret_name: str


class Volume(View):
    """What containers of a pod may mount."""

    name: str
    persistent_volume_claim: ClaimVolume | None = None
    secret: SecretVolume | None = None


class SeccompProfile(View):
    """Which system calls are let through."""

    type: str = ""


class PodSecurity(View):
    """Rights of all containers of a pod."""

    run_as_non_root: bool = False
    seccomp_profile: SeccompProfile = SeccompProfile()


class Pod(View):
    """What runs together."""

    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...] = ()
    enable_service_links: bool = True
    automount_service_account_token: bool = True
    termination_grace_period_seconds: int = 30
    security_context: PodSecurity = PodSecurity()


class Template(View):
    """How pods are made."""

    metadata: Metadata
    spec: Pod


class ClaimTemplate(View):
    """A claim that each pod of a StatefulSet gets for itself."""

    metadata: Metadata


class WorkloadSpec(View):
    """Of whatever starts pods."""

    selector: Selector | None = None
    """A Job makes its own."""
    template: Template
    replicas: int = 1
    service_name: str | None = None
    volume_claim_templates: tuple[ClaimTemplate, ...] = ()


class ServicePort(View):
    """A port of a Service, and of the pods behind it."""

    name: str
    port: int
    target_port: str | int


class ServiceSpec(View):
    """A name for pods."""

    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]
    cluster_ip: Annotated[str, Field(alias="clusterIP")] = ""
    publish_not_ready_addresses: bool = False


class Peer(View):
    """Who may come in: pods of this namespace, or of those that are selected."""

    pod_selector: Selector = Selector()
    namespace_selector: Selector | None = None


class PolicyPort(View):
    """A port that is open, by its name in the pod."""

    port: str | int


class Ingress(View):
    """Whom a policy lets in, and where."""

    peers: Annotated[tuple[Peer, ...], Field(alias="from")] = ()
    ports: tuple[PolicyPort, ...] = ()


class PolicySpec(View):
    """Of a NetworkPolicy."""

    pod_selector: Selector
    ingress: tuple[Ingress, ...] = ()


class BudgetSpec(View):
    """Of a PodDisruptionBudget."""

    selector: Selector


class Generator(View):
    """A ConfigMap that kustomize makes."""

    name: str
    envs: tuple[str, ...] = ()
    literals: tuple[str, ...] = ()


class Kustomization(View):
    """What a folder is made of."""

    resources: tuple[str, ...] = ()
    config_map_generator: tuple[Generator, ...] = ()


class Strict(BaseModel):
    """All fields that we use of a kind that no bundled schema knows: a field beside them is a fault."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, extra="forbid")


class SecretKey(Strict):
    """Where a token is."""

    name: str
    key: str


class Authorization(Strict):
    """A bearer token."""

    credentials: SecretKey


class Relabeling(Strict):
    """One change of a label."""

    source_labels: tuple[str, ...]
    regex: str
    target_label: str
    replacement: str


class Endpoint(Strict):
    """What is scraped of each pod."""

    port: str
    interval: str
    authorization: Authorization | None = None
    metric_relabelings: tuple[Relabeling, ...] = ()


class MatchLabels(Strict):
    """Labels of the Services that are meant."""

    match_labels: Mapping[str, str]


class MonitorSpec(Strict):
    """Of a ServiceMonitor."""

    selector: MatchLabels
    endpoints: tuple[Endpoint, ...]


class StrictMetadata(Strict):
    """Its name, and the namespace that an overlay gave it."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = {}


class Monitor(Strict):
    """A ServiceMonitor of the Prometheus operator (its v1), as far as we use it."""

    api_version: str
    kind: str
    metadata: StrictMetadata
    spec: MonitorSpec
