"""The Kubernetes manifests against the code, the compose file and each other."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from deploy.kubernetes_lint import VERSIONS, faults, schema_faults
from deploy.lint import COMPOSE_FILE, ROOT, looks
from deploy.manifest_views import Container, KeyOf, Monitor, PolicySpec, Variable
from deploy.manifests import FOLDER, Manifest, config_maps, kustomizations, manifests, services, variables, workloads
from inference.interpreter import Device
from inference.launch import ServerSpec, launch_command
from learner.settings import PREFIX as LEARNER_PREFIX
from learner.settings import Settings as LearnerSettings
from scheduler.core.tokens import Scope
from scheduler.settings import PREFIX, Settings, load_settings
from scheduler.token_file import TokenFile
from tests.test_readme import unknown_to_the_cli

DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text()
SETTINGS = config_maps()["pilotcommit"]
ALL = manifests()
WORKLOADS = workloads(ALL)
SERVICES = services(ALL)
OURS = "pilotcommit/"
COMPOSE_VARIABLE = re.compile(r"\$\{(\w+)(?::-[^}]*)?\}")


def container(name: str) -> Container:
    """The one of a workload."""
    (only,) = WORKLOADS[name].template.spec.containers
    return only


def compose(service: str) -> Mapping[str, object]:
    """A service of the compose file, anchors resolved and variables left."""
    found = yaml.safe_load(COMPOSE_FILE.read_text())["services"][service]
    assert isinstance(found, dict)
    return found


def command(service: str) -> list[str]:
    """Its command, with variables as the kubelet would put them in."""
    words = compose(service)["command"]
    assert isinstance(words, list)
    return [COMPOSE_VARIABLE.sub(r"$(\1)", str(word)) for word in words]


def environment(service: str) -> Mapping[str, str]:
    """Its variables."""
    found = compose(service)["environment"]
    assert isinstance(found, dict)
    return {str(name): str(value) for name, value in found.items()}


def value_of(variable: Variable) -> str:
    """What a variable is before an overlay changes it; a secret has a text of its own."""
    key = variable.value_from.config_map_key_ref
    secret = variable.value_from.secret_key_ref
    return SETTINGS[key.key] if key else f"{secret.name}-{secret.key}" if secret else variable.value


def environ_of(name: str) -> dict[str, str]:
    """What a process is given, variables in it put in."""
    environ: dict[str, str] = {}
    for variable in container(name).env:
        environ[variable.name] = re.sub(r"\$\((\w+)\)", lambda found: environ[found[1]], value_of(variable))
    return environ


def test_nothing_is_found_wrong() -> None:
    assert faults() == []
    assert {"kubernetes", "kustomize, base", "kustomize, cluster"} <= {look.title for look in looks()}


def test_everything_that_was_promised_is_there() -> None:
    assert {(each.kind, each.metadata.name) for each in ALL} >= {
        ("Deployment", "scheduler"),
        ("Deployment", "learner"),
        ("StatefulSet", "sglang"),
        ("StatefulSet", "redis"),
        *(("Service", name) for name in ("scheduler", "learner", "sglang", "redis")),
        *(("ServiceMonitor", name) for name in ("scheduler", "learner", "sglang")),
        *(("NetworkPolicy", name) for name in ("scheduler", "learner", "sglang", "redis", "prometheus")),
    }


Change = Callable[[str], str]


def put(old: str, new: str) -> Change:
    """Replace one piece of text, which has to be there."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("base/scheduler.yaml", put("replicas: 2", "replicas: two"), "spec.replicas: 'two' is not of type"),
        ("base/scheduler.yaml", put("terminationGraceP", "terminationP"), "'terminationPeriodSeconds' was unexpected"),
        (
            "base/scheduler.yaml",
            put("kind: Deployment", "kind: Deploiment"),
            "Couldn't find schema for kind Deploiment",
        ),
        ("base/redis.yaml", put("kind: Service", "kind: ["), "while parsing"),
        ("base/redis.yaml", lambda text: f"{text}---\nnothing\n", "a manifest is a mapping, not 'nothing'"),
        ("base/redis.yaml", put("serviceName: redis", "serviceName: reddis"), "there is no Service reddis"),
        (
            "base/redis.yaml",
            put("mountPath: /data", "mountPath: /data}\n            - {name: x, mountPath: /x"),
            "called x",
        ),
        ("base/learner.yaml", put("claimName: weights", "claimName: weight"), "there is no claim weight"),
        ("base/learner.yaml", put("key: MODEL", "key: MODELL"), "ConfigMap pilotcommit has no key MODELL"),
        ("base/learner.yaml", put("$(MODEL)", "$(MODELS)"), "--model=$(MODELS): there is no variable MODELS"),
        ("base/scheduler.yaml", put("- name: REDIS_PASSWORD", "- name: PASSWORD"), "REDIS_PASSWORD is not set above"),
        ("base/scheduler.yaml", put("path: /readyz, port: http", "path: /readyz, port: web"), "asks port web"),
        ("base/scheduler.yaml", put("targetPort: http", "targetPort: web"), "no pod behind it names a port web"),
        ("base/scheduler.yaml", put("selector: {app.kubernetes.io/name: s", "selector: {app: s"), "before no pod"),
        ("base/scheduler.yaml", put("matchLabels: {app.kubernetes.io/name: s", "matchLabels: {app: s"), "its own pods"),
        ("base/sglang.yaml", put("maxUnavailable: 1", "maxUnavailable: []"), "(Kubernetes 1.29)"),
        ("base/network.yaml", put("port: redis", "port: rediss"), "it opens a port rediss that nobody has"),
        (
            "base/network.yaml",
            put("{app.kubernetes.io/name: redis}", "{app: redis}"),
            "NetworkPolicy redis: it selects no",
        ),
        ("monitoring/monitors.yaml", put("interval:", "every:"), "endpoints.0.every: Extra inputs"),
        ("monitoring/monitors.yaml", put("port: metrics", "port: metric"), "its Service names no port metric"),
        ("monitoring/monitors.yaml", put("{app.kubernetes.io/name: l", "{app: l"), "it selects 0 Services"),
        (
            "monitoring/monitors.yaml",
            put("name: learner", "name: scheduler"),
            "there are 2 of ServiceMonitor scheduler",
        ),
        ("base/kustomization.yaml", put("  - redis.yaml\n", ""), "base/redis.yaml: no kustomization.yaml lists it"),
        ("base/kustomization.yaml", put("- redis.yaml", "- redis.yaml\n  - etcd.yaml"), "there is no etcd.yaml"),
    ],
)
def test_a_manifest_that_is_wrong_is_found_out(tmp_path: Path, file: str, change: Change, said: str) -> None:
    folder = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, folder)
    (folder / file).write_text(change((folder / file).read_text()))
    found = faults(folder)
    assert any(said in fault for fault in found), found


def test_the_scheduler_starts_with_the_settings_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    tokens = TokenFile(tmp_path / "tokens.ndjson")
    tokens.create("learner", [Scope.LEARN])
    environ = environ_of("scheduler")
    folder, mounts = Path(environ[f"{PREFIX}TOKENS_FILE"]).parent, container("scheduler").volume_mounts
    assert str(folder) in {mount.mount_path for mount in mounts}
    settings = load_settings(
        environ | {f"{PREFIX}MODEL": str(tmp_path), f"{PREFIX}TOKENS_FILE": str(tokens.path)},
    )
    assert settings.redis_url == "redis://:redis-password@redis:6379/0"
    assert settings.servers == ("http://sglang-0.sglang:30000",)
    assert settings.api_key is not None
    assert settings.importable == settings.reachable == ()


def test_every_variable_of_a_learner_is_one_that_it_reads() -> None:
    known = {f"{LEARNER_PREFIX}{name.upper()}" for name in LearnerSettings.model_fields}
    known |= {f"{LEARNER_PREFIX}TOKEN_FILE", f"{PREFIX}URL", f"{PREFIX}TOKEN_FILE", "MODEL"}
    assert environ_of("learner").keys() <= known
    assert list(unknown_to_the_cli(list(container("learner").args[1:]))) == []


def test_processes_are_started_as_the_compose_file_starts_them() -> None:
    password = ["--requirepass", "$(REDISCLI_AUTH)"]
    assert list(container("redis").args) == command("redis") + password
    assert list(container("learner").args) == command("learner-gpu")
    sglang = container("sglang")
    keys = ["--api-key=$(API_KEY)", "--admin-api-key=$(ADMIN_API_KEY)"]
    assert [*sglang.command, *sglang.args] == command("sglang-gpu") + keys
    spec = ServerSpec(model_path=ROOT, port=1, device=Device.CUDA, api_key="k", admin_api_key="a")
    launched = {word for word in launch_command(spec, ROOT).argv if word.startswith("--")}
    assert {word.partition("=")[0] for word in sglang.args} == launched


@pytest.mark.parametrize(
    ("name", "service", "more", "less"),
    [
        ("scheduler", "scheduler", {"REDIS_PASSWORD", f"{PREFIX}API_KEY", f"{PREFIX}ADMIN_API_KEY"}, set()),
        ("learner", "learner-gpu", {"MODEL"}, {"CUDA_VISIBLE_DEVICES"}),
        (
            "sglang",
            "sglang-gpu",
            {"MODEL", "DTYPE", "TENSOR_PARALLEL", "MEMORY_RATE", "API_KEY", "ADMIN_API_KEY"},
            {"CUDA_VISIBLE_DEVICES"},
        ),
    ],
)
def test_processes_have_the_variables_of_the_compose_file(
    name: str, service: str, more: set[str], less: set[str]
) -> None:
    theirs, ours = environment(service), environ_of(name)
    assert ours.keys() == (theirs.keys() - less) | more
    fixed = {each: value for each, value in theirs.items() if "${" not in value and each not in less}
    assert {each: ours[each] for each in fixed} == fixed | (
        {f"{PREFIX}REDIS_URL": ours[f"{PREFIX}REDIS_URL"]} if name == "scheduler" else {}
    )


def test_settings_have_the_names_and_defaults_of_the_compose_file() -> None:
    defaults = dict(re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", COMPOSE_FILE.read_text()))
    # A GPU of its own; a name of its own.
    differ = {"MEMORY_RATE", "SERVERS"}
    assert SETTINGS.keys() <= defaults.keys()
    assert {key: SETTINGS[key] for key in SETTINGS.keys() - differ} == {
        key: defaults[key] for key in SETTINGS.keys() - differ
    }
    assert variables(FOLDER / "base" / "settings.env") == SETTINGS


def test_images_are_those_of_the_compose_file_and_ours_are_never_pulled() -> None:
    theirs = {str(compose(service)["image"]) for service in ("redis", "learner-gpu", "sglang-gpu")}
    scheduler = yaml.safe_load(COMPOSE_FILE.read_text())["x-scheduler-image"]
    assert {container(name).image for name in WORKLOADS} == theirs | {scheduler["image"]}
    for name in WORKLOADS:
        assert (container(name).image_pull_policy == "Never") is container(name).image.startswith(OURS), name


def test_nothing_runs_with_more_rights_than_it_needs() -> None:
    for name, spec in WORKLOADS.items():
        pod, rights = spec.template.spec, container(name).security_context
        assert rights.capabilities.drop == ("ALL",), name
        assert rights.capabilities.add == (), name
        assert not rights.allow_privilege_escalation, name
        assert rights.read_only_root_filesystem, name
        assert not pod.automount_service_account_token, name
        # A Service of a name that begins with pilotcommit would set variables that the scheduler refuses.
        assert not pod.enable_service_links, name
        assert pod.security_context.seccomp_profile.type == "RuntimeDefault", name
        # SGLang's own image runs as root.
        assert pod.security_context.run_as_non_root is (name != "sglang"), name


def test_each_server_has_its_address_and_each_address_its_server() -> None:
    servers = WORKLOADS["sglang"]
    assert SETTINGS["SERVERS"].split(",") == [
        f"http://sglang-{number}.{servers.service_name}:30000" for number in range(servers.replicas)
    ]
    assert SERVICES["sglang"].cluster_ip == "None"
    assert SERVICES["sglang"].publish_not_ready_addresses
    assert container("sglang").resources.limits["nvidia.com/gpu"] == int(SETTINGS["TENSOR_PARALLEL"])
    assert container("learner").resources.limits["nvidia.com/gpu"] == 1


def test_ports_are_those_that_processes_listen_on() -> None:
    listening = {name: {port.name: port.container_port for port in container(name).ports} for name in WORKLOADS}
    assert listening == {
        "learner": {"metrics": 8401},
        "redis": {"redis": 6379},
        "scheduler": {"http": Settings.model_fields["port"].default},
        "sglang": {"http": 30000},
        "small-model": {},
    }
    for name, service in SERVICES.items():
        assert {port.name: port.port for port in service.ports} == listening[name], name
    assert f"{PREFIX}URL" in environ_of("learner")
    assert environ_of("learner")[f"{PREFIX}URL"] == f"http://scheduler:{SERVICES['scheduler'].ports[0].port}"


def test_a_standby_gets_no_requests_and_is_not_killed_for_that() -> None:
    scheduler = container("scheduler")
    paths = [probe.http_get.path for probe in scheduler.probes if probe.http_get is not None]
    assert paths == ["/healthz", "/healthz", "/readyz"]
    assert WORKLOADS["scheduler"].replicas == 2
    assert not SERVICES["scheduler"].publish_not_ready_addresses


def test_a_roll_out_and_a_drain_of_nodes_never_wait_for_a_standby_to_be_ready() -> None:
    (deployment,) = [each for each in ALL if (each.kind, each.metadata.name) == ("Deployment", "scheduler")]
    spec = deployment.document["spec"]
    assert isinstance(spec, dict)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"}}
    budgets = {each.metadata.name for each in ALL if each.kind == "PodDisruptionBudget"}
    assert budgets == {"sglang"}


def test_processes_are_given_the_time_that_they_take_to_stop() -> None:
    grace_s: float = Settings.model_fields["stop_grace_s"].default
    compose_s = {
        name: float(str(compose(name)["stop_grace_period"]).rstrip("s")) for name in ("scheduler", "learner-gpu")
    }
    assert WORKLOADS["scheduler"].template.spec.termination_grace_period_seconds == compose_s["scheduler"]
    assert WORKLOADS["learner"].template.spec.termination_grace_period_seconds == compose_s["learner-gpu"]
    # uvicorn's time for open requests, aborts and continues come on top.
    assert compose_s["scheduler"] >= grace_s + 10


def test_a_reward_reaches_its_own_limit_before_the_scheduler_reaches_the_container() -> None:
    workers: int = Settings.model_fields["num_reward_workers"].default
    each_mib: int = Settings.model_fields["reward_memory_mib"].default
    limit = str(container("scheduler").resources.limits["memory"])
    assert limit.endswith("Gi")
    assert int(limit.removesuffix("Gi")) * 1024 >= workers * each_mib + 2048


def test_a_server_that_loads_is_not_killed() -> None:
    probe = container("sglang").startup_probe
    assert probe is not None
    assert probe.period_seconds * probe.failure_threshold >= 1800


def test_only_the_scheduler_reaches_redis_and_the_servers() -> None:
    let_in = {
        (policy.metadata.name, peer.pod_selector.match_labels.get("app.kubernetes.io/name"))
        for policy in ALL
        if policy.kind == "NetworkPolicy"
        for rule in policy.spec(PolicySpec).ingress
        for peer in rule.peers
        if peer.namespace_selector is None
    }
    assert let_in == {("redis", "scheduler"), ("sglang", "scheduler"), ("scheduler", "learner"), ("scheduler", None)}
    (prometheus,) = [each for each in ALL if (each.kind, each.metadata.name) == ("NetworkPolicy", "prometheus")]
    selector = prometheus.spec(PolicySpec).pod_selector
    assert {name for name in WORKLOADS if selector.selects({"app.kubernetes.io/name": name})} == {
        "learner",
        "scheduler",
        "sglang",
    }
    (rule,) = prometheus.spec(PolicySpec).ingress
    assert all(peer.namespace_selector is not None and peer.pod_selector.match_labels for peer in rule.peers)


def test_what_is_scraped_is_what_prometheus_scrapes_in_the_compose_file() -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    monitors = {
        each.metadata.name: Monitor.model_validate(each.document) for each in ALL if each.kind == "ServiceMonitor"
    }
    assert monitors.keys() == {job["job_name"] for job in scraped}
    for job in scraped:
        (endpoint,) = monitors[job["job_name"]].spec.endpoints
        assert (endpoint.authorization is not None) is ("authorization" in job)
        assert [relabeling.model_dump() for relabeling in endpoint.metric_relabelings] == [
            each | {"source_labels": tuple(each["source_labels"])} for each in job.get("metric_relabel_configs", [])
        ]


def secrets() -> set[tuple[str, str]]:
    """Every key of a Secret that somebody reads."""
    used: set[tuple[str, str]] = set()
    for name in WORKLOADS:
        refs = [each.value_from.secret_key_ref for each in container(name).env]
        used |= {(ref.name, ref.key) for ref in refs if isinstance(ref, KeyOf)}
        mounts = {mount.name: mount.mount_path for mount in container(name).volume_mounts}
        for volume in WORKLOADS[name].template.spec.volumes:
            if volume.secret is not None:
                read = [Path(value) for value in environ_of(name).values() if value.startswith(mounts[volume.name])]
                used |= {(volume.secret.secret_name, path.name) for path in read}
    for each in ALL:
        if each.kind == "ServiceMonitor":
            for endpoint in Monitor.model_validate(each.document).spec.endpoints:
                if endpoint.authorization is not None:
                    used.add((endpoint.authorization.credentials.name, endpoint.authorization.credentials.key))
    return used


def test_the_document_makes_every_secret_that_is_read_and_none_is_in_a_manifest() -> None:
    made = {
        (name, key)
        for name, keys in re.findall(r"kubectl create secret generic (\w+) (.+)", DOCUMENT)
        for key in re.findall(r"--from-(?:literal|file)=([\w.]+)=", keys)
    }
    assert made == secrets()
    assert not [each.title for each in ALL if each.kind == "Secret"]


def test_the_document_names_folders_versions_and_commands_that_exist() -> None:
    for folder in re.findall(r"deploy/kubernetes/[a-z-]+", DOCUMENT):
        assert (ROOT / folder).is_dir(), folder
    assert f"{VERSIONS[0]} and {VERSIONS[1]}" in DOCUMENT
    for line in re.findall(r"^pilotcommit (.+?)(?: >.*| *#.*)?$", DOCUMENT, flags=re.MULTILINE):
        assert list(unknown_to_the_cli(line.split())) == [], line


def test_the_rules_become_an_object_as_the_document_says() -> None:
    (script,) = re.findall(r"^(for file in .+?done) \| kubectl", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    shell = shutil.which("sh")
    assert shell is not None
    made = subprocess.run([shell, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    objects = list(Manifest.read(made.removesuffix("---\n"), "document"))
    assert [(each.kind, each.metadata.name) for each in objects] == [
        ("PrometheusRule", "pilotcommit-rules"),
        ("PrometheusRule", "pilotcommit-alerts"),
    ]
    for each, name in zip(objects, ("rules", "alerts"), strict=True):
        assert each.document["spec"] == yaml.safe_load((ROOT / "deploy" / "prometheus" / f"{name}.yml").read_text())


@pytest.fixture(scope="module")
def built() -> Mapping[str, list[Manifest]]:
    """What kustomize makes of each folder; skips where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl, which has kustomize in it: the overlays were not built")
    return {
        folder.name: list(
            Manifest.read(
                subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=True).stdout,
                folder.name,
            )
        )
        for folder in kustomizations()
    }


def test_what_kustomize_makes_of_each_folder_has_no_fault(built: Mapping[str, list[Manifest]]) -> None:
    found = {name: [fault for each in made for fault in schema_faults(each)] for name, made in built.items()}
    assert found == {name: [] for name in built}
    assert len(built["base"]) + len(built["monitoring"]) + len(built["small-model"]) + 1 == len(built["cluster"])


def test_an_overlay_changes_what_a_cluster_has_of_its_own(built: Mapping[str, list[Manifest]]) -> None:
    made = built["cluster"]
    for each in made:
        metadata = each.document["metadata"]
        assert isinstance(metadata, dict)
        assert metadata.get("namespace", "pilotcommit") == "pilotcommit"
    for spec in workloads(made).values():
        for each_container in spec.template.spec.containers:
            assert not each_container.image.startswith(OURS)
            assert each_container.image_pull_policy != "Never"
    claims = [each.document["spec"] for each in made if each.kind == "PersistentVolumeClaim"]
    assert [isinstance(claim, dict) and claim["storageClassName"] for claim in claims] == ["shared", "shared"]


def test_with_servers_of_your_own_nothing_is_left_of_ours(built: Mapping[str, list[Manifest]]) -> None:
    made = built["own-servers"]
    assert not [each.title for each in made if each.metadata.name == "sglang"]
    (settings,) = [each.document["data"] for each in made if each.kind == "ConfigMap"]
    assert isinstance(settings, dict)
    assert "sglang" not in settings["SERVERS"]
    assert settings.keys() == SETTINGS.keys()
    scheduler = workloads(made)["scheduler"].template.spec.containers[0]
    keys = [each.value_from.secret_key_ref for each in scheduler.env if each.name.endswith("API_KEY")]
    assert [key is not None and key.optional for key in keys] == [True, True]
