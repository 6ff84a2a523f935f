"""`python -m tests.chaos.processes.redis BINARY ARGUMENTS`: a Redis that whoever signals this process signals.

Owns: becoming the server. Invariant: it imports nothing of ours: a Redis that died is back at once.
"""

import os
import sys

if __name__ == "__main__":
    # Python ignores SIGXFSZ, and the server inherits that: on a full disk it is told so, as it would be anywhere.
    os.execv(sys.argv[1], sys.argv[1:])
