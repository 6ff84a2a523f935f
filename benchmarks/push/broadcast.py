"""`python -m benchmarks.push.broadcast RANK PORT FOLDER TIMES`: weights between two processes, and nothing else.

Owns: a bare broadcast, by torch.distributed as its documentation has it. Rank 0 has the weights in memory before it
begins, and rank 1 a place for them; rank 1 prints the seconds of each time as JSON, after one to warm up. Invariant: a
broadcast that brought other bytes than those of the file is no result.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed

from learner.broadcast import BUCKET_BYTES
from learner.buckets import stretches
from scheduler.core.errors import LearnerError, ServerUnavailable
from scheduler.ports import free_port

_SENDER, _RECEIVER = 0, 1


async def bare_broadcasts(weights: Path, *, times: int) -> list[float]:
    """Seconds of each broadcast of the weights in a folder, from one process to another on this machine."""
    port = free_port()

    async def rank(number: int) -> bytes:
        arguments = ("-m", __name__, str(number), str(port), str(weights), str(times))
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                # Whoever has lost the other waits for it for half an hour.
                process.kill()
                await process.wait()
        if process.returncode:
            raise ServerUnavailable(f"rank {number} of the bare broadcast ended with code {process.returncode}")
        return output

    async with asyncio.TaskGroup() as ranks:
        ranks.create_task(rank(_SENDER))
        receiver = ranks.create_task(rank(_RECEIVER))
    return [float(seconds) for seconds in json.loads(receiver.result())]


def take_part(rank: int, port: int, weights: Path, times: int) -> list[float]:
    """Send or receive so many times; the seconds of each, from when both are ready to the last bucket's end."""
    cut = stretches(weights, BUCKET_BYTES)
    contents = [bytearray(stretch.mapped(weights) if rank == _SENDER else stretch.num_bytes) for stretch in cut]
    buckets = [torch.frombuffer(content, dtype=torch.uint8) for content in contents]
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    seconds = []
    for _ in range(times + 1):
        torch.distributed.barrier()
        began = time.perf_counter()
        for bytes_N in buckets:
            torch.distributed.broadcast(bytes_N, src=_SENDER)
        seconds.append(time.perf_counter() - began)
    torch.distributed.destroy_process_group()
    if any(content != stretch.mapped(weights) for content, stretch in zip(contents, cut, strict=True)):
        raise LearnerError(f"rank {rank} does not hold what is in {weights}")
    return seconds[1:]


if __name__ == "__main__":
    told = take_part(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    if int(sys.argv[1]) == _RECEIVER:
        sys.stdout.write(json.dumps(told) + "\n")
