"""What rewards print, as log lines.

Owns: reading a worker's stderr and logging it. Never trusts it: a reward that printed straight to our log could forge
lines or fill the disk. Invariant: whatever a worker prints is read, so that it never blocks, and only so much is kept.
"""

import asyncio

import structlog

log = structlog.get_logger(__name__)

_CHUNK_BYTES = 1 << 16
_LONGEST_LINE = 1000
_MOST_LINES = 1000
"""Of one worker's life."""


async def relay(output: asyncio.StreamReader, pid: int) -> None:
    """Log every line until the end of file.

    Consumes: what the worker prints. Produces: log lines, as many as are kept. Waits for: more, or its end.
    """
    rest, num_lines = b"", 0
    while data := await output.read(_CHUNK_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[:_LONGEST_LINE]
        for line in lines:
            num_lines += 1
            if num_lines <= _MOST_LINES:
                log.info("reward_printed", worker=pid, text=line[:_LONGEST_LINE].decode(errors="replace"))
            elif num_lines == _MOST_LINES + 1:
                log.warning("reward_silenced", worker=pid, reason=f"it printed {_MOST_LINES} lines")
    if rest and num_lines < _MOST_LINES:
        log.info("reward_printed", worker=pid, text=rest.decode(errors="replace"))
