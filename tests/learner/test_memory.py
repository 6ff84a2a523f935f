import subprocess
import sys

import pytest

_FAULTS = """
import resource
import sys
from concurrent.futures import ThreadPoolExecutor

from learner.memory import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("this C library has no mallopt")

import torch

with ThreadPoolExecutor(1) as worker:
    for number in range(30):
        worker.submit(torch.ones, 8 << 20).result()
        if number == 19:  # glibc before 2.39 fits aligned pieces badly: it takes some rounds to have gathered enough
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=False)
    if "no mallopt" in done.stderr:
        pytest.skip("this C library has no mallopt")
    return int(done.stdout)


def test_memory_that_was_freed_is_not_fetched_from_the_kernel_again() -> None:
    assert page_faults("kept") * 10 < page_faults("returned")


_RESIDENT = """
import ctypes

from learner.memory import give_back_freed_memory, keep_freed_memory

if not hasattr(ctypes.CDLL(None), "malloc_trim") or not keep_freed_memory():
    raise SystemExit("this C library has no mallopt")

import torch


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


kept = []
whole = torch.ones(32 << 20)
kept.append(torch.ones(1 << 20))
before = resident()
del whole
freed = resident()
assert give_back_freed_memory()
print(before - freed, before - resident())
"""


def test_what_was_needed_once_can_be_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", _RESIDENT], capture_output=True, text=True, check=False)
    if "no mallopt" in done.stderr:
        pytest.skip("this C library has no mallopt")
    by_freeing, by_giving_back = map(int, done.stdout.split())
    # Pages of 4 KiB, of the 128 MiB.
    assert by_freeing < 1000
    assert by_giving_back > 30_000
