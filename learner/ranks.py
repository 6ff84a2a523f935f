"""The ranks that hold one policy together: the processes of one `torchrun`, or this process alone.

Owns: joining them, what rank 0 says to all, sums over all, and taking turns. Never touches a model. Invariant: all
ranks make the same calls in the same order; a rank that waits for longer than the timeout, or for one that is gone,
raises and never hangs. Alone there is no process group, and every call answers at once.
"""

import ctypes
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from scheduler.core.errors import LearnerError

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Set by torchrun alone: `RANK` and the like are left over in many an environment."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Which of how many processes this one is."""

    index: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    """One-dimensional, over all of them; None for a process alone."""

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which alone speaks to the scheduler and owns the work directory."""
        return self.index == 0

    def told(self, content: bytes = b"") -> bytes:
        """What rank 0 gives here, on every rank; what others give is left aside."""
        if self.size == 1:
            return content
        length = torch.tensor([len(content)])
        dist.broadcast(length, 0)
        if not length:
            return b""
        heard = bytearray(content if self.leads else int(length))
        dist.broadcast(torch.frombuffer(heard, dtype=torch.uint8), 0)
        return bytes(heard)

    def total(self, values: Sequence[float]) -> list[float]:
        """Each value summed over all ranks, the same bits on all of them."""
        if self.size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        totals: list[float] = sums.tolist()
        return totals

    def meet(self) -> None:
        """Return once every rank is here."""
        self.total([0.0])

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """One rank after the other inside, so that what it needs there for a while is needed once a machine."""
        for _ in range(self.index):
            self.meet()
        yield
        for _ in range(self.index, self.size):
            self.meet()

    @contextmanager
    def together(self, work: str) -> Iterator[None]:
        """Name the rank and its work in what torch raises inside, most often because another rank is gone."""
        try:
            yield
        except RuntimeError as exc:
            if self.size == 1:
                raise
            raise LearnerError(
                f"rank {self.index} of {self.size} could not {work}: {exc}. If another rank has died, its own lines "
                "say why; start the learner again, it resumes from its last checkpoint"
            ) from exc


ALONE = Ranks()
"""A process that no torchrun has started."""


@contextmanager
def joined(environ: Mapping[str, str], device: torch.device, *, timeout_s: float) -> Iterator[Ranks]:
    """Join the others that torchrun has started: gloo on a CPU, and NCCL beside it on GPUs, one for each rank.

    `timeout_s` bounds every wait for another rank. Raises LearnerError where they cannot be joined. After an error the
    group is left as it is: to take it down may need ranks that are gone, and the end of the process frees it.
    """
    size = int(environ["WORLD_SIZE"]) if LAUNCHED in environ else 1
    if size == 1:
        yield ALONE
        return
    ranks = Ranks(index=int(environ["RANK"]), size=size)
    with ranks.together("join the others"):
        if device.type == "cuda":
            _take_gpu(int(environ["LOCAL_RANK"]))
        _die_with_parent()
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
        mesh = init_device_mesh(device.type, (size,))
    yield Ranks(index=ranks.index, size=size, mesh=mesh)
    dist.destroy_process_group()


def _die_with_parent() -> None:
    """Have the kernel kill this rank when torchrun is killed, which starts its ranks in sessions of their own."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    # Linux only.
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_gpu(index: int) -> None:
    if index >= torch.cuda.device_count():
        raise LearnerError(
            f"local rank {index} has no GPU of its own, of {torch.cuda.device_count()}: lower --nproc-per-node"
        )
    torch.cuda.set_device(index)
