"""What a trainer uses to take its groups from a scheduler and to publish its weights: blocking, and asynchronous.

Owns: the two clients. Never trains, and never looks into a weight. Needs neither torch nor numpy. Invariant: both make
the same calls in the same order, as the blocking one runs the other on a thread of its own, which reads on while
the trainer computes.

    with TrainingClient("http://127.0.0.1:8400", "run-1", progress=progress) as client:
        client.begin(folder)
        for batch in client.batches():
            ...                                      # train on batch.groups, write the weights into a new folder
            client.applied(batch, folder, stats={"loss": loss})
            ...                                      # write a checkpoint, client.progress in it
            client.checkpointed()
"""

import asyncio
import hashlib
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from concurrent.futures import wait
from contextlib import ExitStack
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from scheduler.core.errors import InvalidInput
from scheduler.core.types import Group
from scheduler.frames import FinalFrame
from scheduler.incarnation import Incarnation
from scheduler.learner_link import LearnerLink
from scheduler.taking import Progress, TrainingBatch

Result = TypeVar("Result")


def weights_digest(folder: Path) -> str:
    """Names a folder's content: of every file its name, its size and when it was written. No weight is read.

    The scheduler tells weights apart by folder and digest. Raises InvalidInput where there is no safetensors file.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not any(path.suffix == ".safetensors" for path in files):
        raise InvalidInput(f"{folder} holds no safetensors file: write the whole model there first", field="weights")
    lines = [f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class AsyncTrainingClient:
    """One run as its trainer reaches it; an asynchronous context manager, used by one task at a time."""

    def __init__(
        self,
        url: str,
        run_id: str,
        *,
        progress: Progress | None = None,
        token: str | None = None,
        patience_s: float = 300.0,
        on_group: Callable[[Group], None] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`progress` is that of the checkpoint that the trainer resumed from; none for a fresh start.

        `token` has the scope learn, where there are tokens. `patience_s` bounds how long the scheduler may be away.
        `on_group` is called with each group as it arrives, on the thread that reads the stream.
        """
        self._link = LearnerLink(url, run_id, token=token, patience_s=patience_s, transport=transport, tls=tls)
        name = uuid.uuid4().hex[:12]
        self._incarnation = Incarnation(self._link, progress or Progress(), name=name, on_group=on_group)
        self._batches = _Batches(self._incarnation)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Here and not by whoever stops reading: a stream is read on from where it was left.
        await self._incarnation.aclose()
        await self._link.__aexit__(kind, error, traceback)

    @property
    def progress(self) -> Progress:
        """How far the trainer has come: it belongs into every checkpoint."""
        return self._incarnation.progress

    @property
    def version(self) -> int:
        """The weight version that was announced last."""
        return self._incarnation.version

    @property
    def temperature(self) -> float:
        """Of sampling: behaviour log-probs are at it. Known once `begin` has returned."""
        return self._incarnation.temperature

    @property
    def waiting_for(self) -> str:
        """What the run waits for, for people; empty while a batch is there."""
        return self._incarnation.waiting_for

    @property
    def last_word(self) -> FinalFrame | None:
        """How the run ended, once it has."""
        return self._incarnation.last_word

    async def begin(self, weights: str | PathLike[str]) -> int:
        """Take the run, and publish the weights that training begins with; returns their version.

        Waits while the run is queued or paused, however long; the log says what for. Raises NotFound for the run,
        InvalidInput for weights that no server can load and for a scheduler that writes another format of frames.
        """
        path, digest = await _named(weights)
        await self._incarnation.attach()
        return await self._incarnation.publish(path=path, digest=digest)

    def batches(self) -> AsyncIterator[TrainingBatch]:
        """The batches until the run ends; the next one comes once the last was reported as applied.

        A wait for one may be cancelled, by a timeout for instance, and be begun again.
        Raises StaleIncarnation when another trainer has taken the run, StreamEnded when the scheduler stays away.
        """
        return self._batches

    async def applied(
        self, batch: TrainingBatch, weights: str | PathLike[str], *, stats: Mapping[str, float] | None = None
    ) -> int | None:
        """Report a step, its weights complete in a folder that no earlier step wrote to; returns their version.

        None where the run has ended meanwhile: `batches` ends then too. `stats` are shown with the step.
        """
        path, digest = await _named(weights)
        return await self._incarnation.applied(batch, path=path, digest=digest, stats=stats or {})

    async def checkpointed(self) -> None:
        """Report that a checkpoint holds everything applied, with `progress` as it is now."""
        await self._incarnation.checkpointed()

    async def weights_in_use(self) -> Collection[str]:
        """Folders of published weights that servers may still be loading: every other one may be deleted."""
        return await self._link.weights_in_use()


class _Batches:
    """The batches of one incarnation. Not a generator, which a cancelled wait would end."""

    def __init__(self, incarnation: Incarnation) -> None:
        self._incarnation = incarnation

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TrainingBatch:
        batch = await self._incarnation.next_batch()
        if batch is None:
            raise StopAsyncIteration
        return batch


async def _named(weights: str | PathLike[str]) -> tuple[str, str]:
    return await asyncio.to_thread(_name, Path(weights))


def _name(folder: Path) -> tuple[str, str]:
    return str(folder.absolute()), weights_digest(folder)


class TrainingClient:
    """The same for a trainer that blocks; a context manager."""

    def __init__(
        self,
        url: str,
        run_id: str,
        *,
        progress: Progress | None = None,
        token: str | None = None,
        patience_s: float = 300.0,
        on_group: Callable[[Group], None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """As for AsyncTrainingClient."""
        self._client = AsyncTrainingClient(
            url, run_id, progress=progress, token=token, patience_s=patience_s, on_group=on_group, tls=tls
        )
        self._open = ExitStack()
        self._portal: BlockingPortal

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal(name="training-client"))
            stack.enter_context(self._portal.wrap_async_context_manager(self._client))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    @property
    def progress(self) -> Progress:
        """How far the trainer has come: it belongs into every checkpoint."""
        return self._client.progress

    @property
    def version(self) -> int:
        """The weight version that was announced last."""
        return self._client.version

    @property
    def temperature(self) -> float:
        """Of sampling: behaviour log-probs are at it. Known once `begin` has returned."""
        return self._client.temperature

    @property
    def waiting_for(self) -> str:
        """What the run waits for, for people; empty while a batch is there."""
        return self._client.waiting_for

    @property
    def last_word(self) -> FinalFrame | None:
        """How the run ended, once it has."""
        return self._client.last_word

    def begin(self, weights: str | PathLike[str]) -> int:
        """As AsyncTrainingClient.begin."""
        return self._call(partial(self._client.begin, weights))

    def batches(self) -> Iterator[TrainingBatch]:
        """As AsyncTrainingClient.batches."""
        batches = self._client.batches()
        while (batch := self._call(partial(_next, batches))) is not None:
            yield batch

    def applied(
        self, batch: TrainingBatch, weights: str | PathLike[str], *, stats: Mapping[str, float] | None = None
    ) -> int | None:
        """As AsyncTrainingClient.applied."""
        return self._call(partial(self._client.applied, batch, weights, stats=stats))

    def checkpointed(self) -> None:
        """As AsyncTrainingClient.checkpointed."""
        self._call(self._client.checkpointed)

    def weights_in_use(self) -> Collection[str]:
        """As AsyncTrainingClient.weights_in_use."""
        return self._call(self._client.weights_in_use)

    def _call(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """Run it on the thread that has the client; an interrupt of the caller ends it too."""
        future = self._portal.start_task_soon(function)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            wait({future})
            raise


async def _next(batches: AsyncIterator[TrainingBatch]) -> TrainingBatch | None:
    return await anext(batches, None)
