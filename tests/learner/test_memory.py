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
