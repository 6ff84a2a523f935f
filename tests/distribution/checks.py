"""What an installation is asked to do.

Owns: the checks of the base and of each extra. Never installs what it checks. Invariant: every check runs programs of
the installation, from an empty folder; what it needs from outside (Redis, servers, a model) it is given by address.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from scheduler.client import Client
from scheduler.core.errors import ServerUnavailable
from scheduler.ports import free_port
from tests.distribution.built import ROOT
from tests.distribution.installation import Installation, add
from tests.distribution.promises import PROMISES, Promise
from tests.quickstart.documents import Run, steps
from tests.quickstart.terminal import Terminal
from tests.quickstart.waiting import until

Say = Callable[[str], None]

PICTURES = (
    "scheduler.drawing",
    "scheduler.cli.comparison_picture",
    "scheduler.cli.profile_picture",
    "scheduler.demo.picture",
    "scheduler.simulator.picture",
)
NEEDS_MORE = ("learner", "inference.cpu", *PICTURES)
"""Of ours, what the base cannot import: torch, the library of pictures, and what runs in the environment of SGLang."""
_NUM_STEPS = 3


def base(installation: Installation, say: Say, *, redis_url: str, model: Path) -> None:
    """The wheel with its minimal dependencies."""
    for promise in PROMISES.values():
        has_none_of(installation, promise)
    told = installation.run("python", installation.program("modules.py"), "scheduler", "inference", "--", *NEEDS_MORE)
    outside = [line for line in told.splitlines() if not line.startswith(str(installation.venv))]
    assert not outside, f"imported from elsewhere: {outside}"
    say("every module of scheduler and inference can be imported, and nothing of an extra is there")
    commands(installation)
    say("the command line answers")
    said = trained_by_a_user(installation, redis_url, model)
    say(f"a trainer of a user's trained a run: {said.splitlines()[-1]}")


def has_none_of(installation: Installation, promise: Promise) -> None:
    """The base must not bring what only an extra brings."""
    listed = installation.run("python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    present = {line.partition("==")[0].lower().replace("_", "-") for line in listed.splitlines()}
    assert not present & set(promise.brings), f"without an extra: {present & set(promise.brings)}"


def commands(installation: Installation) -> None:
    """The command line, where nothing runs yet."""
    assert installation.run("pilotcommit", "--version").strip() == version("pilotcommit")
    assert "A rollout scheduler" in installation.run("pilotcommit", "--help")
    assert "pilotcommit_" in installation.run("pilotcommit", "token", "create", "me", "--file", "tokens.ndjson")
    told = installation.run("pilotcommit", "run", "list", "--url", f"http://127.0.0.1:{free_port()}", code=1)
    assert "no scheduler answers" in told
    without = installation.run("pilotcommit", "doctor", code=1)
    assert "pilotcommit[embedded]" in without, without


def trained_by_a_user(installation: Installation, redis_url: str, model: Path) -> str:
    """The installed scheduler over installed fake servers, and a trainer that uses the client; what that printed."""
    port = free_port()
    with servers(installation, model, 1) as [server]:
        up = f"pilotcommit up --no-learners --model {model} --server {server} --port {port} --redis {redis_url}"
        with going_on(installation, up, f"http://127.0.0.1:{port}"):
            said = installation.run(
                "python", installation.program("trainer.py"), f"http://127.0.0.1:{port}", str(model), "weights"
            )
    assert said.count("step ") >= _NUM_STEPS, said
    assert said.rstrip().endswith(("finished", "exhausted")), said
    return said


def typed(installation: Installation, say: Say) -> None:
    """A user's program against the installed types: a right one passes, a wrong one is found out."""
    add(installation, "mypy")
    right = installation.run("mypy", "--strict", installation.program("trainer.py"))
    assert "Success: no issues found in 1 source file" in right, right
    wrong = installation.run("mypy", "--strict", installation.program("mistyped.py"), code=1)
    assert "[arg-type]" in wrong, wrong
    assert "[return-value]" in wrong, wrong
    say("mypy passes a user's program against the installed packages, and finds two planted mistakes")


def extra(installation: Installation, name: str, say: Say) -> None:
    """What an extra promises to import."""
    for module in PROMISES[name].imports:
        installation.run("python", "-c", f"import {module}")
    say(f"{', '.join(PROMISES[name].imports)} can be imported")


def own_servers(installation: Installation, model: Path, say: Say) -> None:
    """The README's commands for somebody with servers, a model and prompts; fakes of the installation for servers."""
    text = (ROOT / "README.md").read_text().partition("\n## With your own servers and trainer\n")[2]
    [block] = [step for step in steps(text.partition("\n## ")[0], left_out={}) if isinstance(step, Run)]
    (installation.work / "prompts.ndjson").write_text(
        "".join(f'{{"id": "p{number}", "text": "{number} =", "answer": "7"}}\n' for number in range(40))
    )
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with servers(installation, model, 3) as addresses, ExitStack() as stack:
        there = {f"http://gpu{number}:30000": address for number, address in enumerate(addresses, start=1)}
        there |= {"/models/my-model": str(model), "pilotcommit up ": f"pilotcommit up --port {port} "}
        there["100000"] = "300"
        for line in block.lines:
            command = _replaced(line, there | run_of(url))
            say(f"$ {command}")
            if line.startswith("pilotcommit up "):
                stack.enter_context(going_on(installation, command, url))
            else:
                installation.run(
                    *shlex.split(command), variables={"PILOTCOMMIT_URL": url, "PILOTCOMMIT_PORT": str(port)}
                )
        with Client(url) as client:
            [run] = client.runs()
            assert run["state"] in ("finished", "exhausted"), run
            assert len(client.servers()) == len(addresses)


def run_of(url: str) -> dict[str, str]:
    """What stands for RUN, once there is one."""
    try:
        with Client(url) as client:
            runs = client.runs()
    except ServerUnavailable:
        return {}
    return {" RUN": f" {runs[0]['run_id']}"} if runs else {}


def _replaced(line: str, words: dict[str, str]) -> str:
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], line)


@contextmanager
def servers(installation: Installation, model: Path, count: int) -> Iterator[list[str]]:
    """Fake servers out of the installation."""
    ports = [free_port() for _ in range(count)]
    line = f"python {installation.program('servers.py')} {model} {' '.join(map(str, ports))}"
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    with going_on(installation, line, *(f"{address}/model_info" for address in addresses)):
        yield addresses


@contextmanager
def going_on(installation: Installation, line: str, *asked: str) -> Iterator[None]:
    """A command in a terminal of its own, from when the addresses answer until Ctrl-C."""
    log = installation.folder / f"{shlex.split(line)[0]}.log"
    terminal = Terminal(installation.work, installation.environment, log=log)
    terminal.type((line,))
    try:
        for url in asked:
            ready = f"{url}/readyz" if line.startswith("pilotcommit ") else url
            until(ready, lambda: terminal.has_ended, log)
        yield
    finally:
        terminal.close(interrupt=True)
