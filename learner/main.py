"""The learner process: `python -m learner.main --run-id R --model-path M --work-dir D`.

Owns: the order of starting and stopping, signals and the exit code. Never trains. Invariant: torch is imported only
after its threads are limited.

Several processes that share one policy are started by `torchrun --nproc-per-node N -m learner.main`, with the same
flags. Rank 0 is the learner as everybody else sees it; the others do their part of its work.

Exit codes: 0 the run ended or the process was asked to stop, with everything saved; 1 an error, logged; 2 the settings
are wrong; 3 another learner has taken the run.
"""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import structlog

from learner.fault import VARIABLE, Fault
from learner.memory import keep_freed_memory
from learner.settings import Settings, load_settings
from learner.threads import limit_threads
from learner.work_dir import WorkDir
from scheduler import event_loop, logs
from scheduler.core.errors import InvalidInput, PilotCommitError, StaleIncarnation
from scheduler.learner_link import LearnerLink
from scheduler.tls import ClientTls

if TYPE_CHECKING:
    from learner.assembly import Start
    from learner.ranks import Ranks

OK, FAILED, MISUSED, REPLACED = 0, 1, 2, 3

_log = structlog.get_logger()


def main(argv: Sequence[str] | None = None) -> int:
    """Train a run until it ends, and return the exit code."""
    try:
        settings = load_settings(sys.argv[1:] if argv is None else argv, os.environ)
        fault = Fault.parse(os.environ.get(VARIABLE))
    except InvalidInput as exc:
        sys.stderr.write(f"learner: {exc}\n")
        return MISUSED
    logs.configure("INFO")
    limit_threads(settings.num_threads, os.environ)
    keep_freed_memory()
    code = OK
    try:
        _run(settings, fault)
    except* StaleIncarnation as group:
        code = REPLACED
        _log.error("replaced", run=settings.run_id, reason=str(group.exceptions[0]))
    except* PilotCommitError:
        code = max(code, FAILED)
        _log.exception("failed", run=settings.run_id)
    return code


def _run(settings: Settings, fault: Fault) -> None:
    # Here and not at the top: torch reads its thread settings when it is first imported.
    from learner.assembly import assemble_bench, device_of
    from learner.ranks import joined

    with joined(os.environ, device_of(settings.device), timeout_s=settings.rank_timeout_s) as ranks:
        if ranks.leads:
            _lead(settings, fault, ranks)
            return
        # torchrun passes a signal to every rank. Rank 0 heeds it, and needs the others for its last checkpoint.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        with ranks.together("load its part"):
            bench = assemble_bench(settings, ranks)
        bench.follow()


def _lead(settings: Settings, fault: Fault, ranks: "Ranks") -> None:
    from learner.assembly import assemble

    incarnation = uuid.uuid4().hex[:12]
    work_dir = WorkDir(root=settings.work_dir)
    with work_dir.held():
        with ranks.together("load its part"):
            start = assemble(settings, work_dir, incarnation=incarnation, fault=fault, ranks=ranks)
        metrics = start.workshop.metrics
        with closing(start.workshop.sinks), metrics.serving(settings.metrics_port, settings.metrics_host):
            event_loop.run(_train(settings, start, incarnation))


async def _train(settings: Settings, start: "Start", incarnation: str) -> None:
    from learner.assembly import broadcaster_of
    from learner.session import Session

    tls = ClientTls(ca_file=settings.ca_file, cert_file=settings.cert_file, key_file=settings.key_file).context()
    token = settings.token.get_secret_value() if settings.token is not None else None
    async with LearnerLink(settings.scheduler_url, settings.run_id, token=token, tls=tls) as link:
        broadcaster = broadcaster_of(settings, start, link, incarnation=incarnation)
        session = Session(link, start.workshop, start.progress, incarnation=incarnation, broadcaster=broadcaster)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, session.request_stop)
        await session.run()


if __name__ == "__main__":
    sys.exit(main())
