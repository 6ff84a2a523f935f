"""`python -m tests.chaos.processes.shifted MODULE ARGUMENTS`: a module whose wall-clock can be made to jump.

Owns: the offset between the process's wall-clock and the true one, read from a file at every look. Never touches the
monotonic clock, which no jump moves on a real machine either. Invariant: the file is eight bytes, a float of seconds.
"""

import mmap
import os
import runpy
import struct
import sys
import time
from pathlib import Path

VARIABLE = "CHAOS_CLOCK"
_OFFSET = struct.Struct("d")


def set_offset(path: Path, offset_s: float) -> None:
    """Move the wall-clock of whoever runs with this file."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(_OFFSET.pack(offset_s))


def _shift(path: Path) -> None:
    with path.open("rb") as file:
        clock = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)
    true_time, true_time_ns = time.time, time.time_ns

    def offset_s() -> float:
        seconds: float = _OFFSET.unpack_from(clock)[0]
        return seconds

    # The clock is an edge: whoever is started from here on finds this one.
    time.time = lambda: true_time() + offset_s()
    time.time_ns = lambda: true_time_ns() + int(offset_s() * 1e9)


def main() -> None:
    """Run the module as the main one."""
    _shift(Path(os.environ[VARIABLE]))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
