"""How many threads torch may use, decided before torch exists in the process.

Owns: the OpenMP variables of this process. Invariant: they are set before the first import of torch, which reads them
once; `learner.main` therefore imports torch only after calling this.
"""

import sys
from collections.abc import MutableMapping

from scheduler.core.errors import LearnerError


def limit_threads(num_threads: int, environ: MutableMapping[str, str]) -> None:
    """Give torch `num_threads` threads that sleep while they wait.

    OpenMP's threads spin by default: beside a server on the same two cores that made single operations 10 to 100 times
    slower. Raises LearnerError where torch has been imported already, because the variables would be ignored.
    """
    if "torch" in sys.modules:
        raise LearnerError("torch was imported before its threads were limited: import learner.main first")
    environ["OMP_NUM_THREADS"] = str(num_threads)
    environ["OMP_WAIT_POLICY"] = "passive"
