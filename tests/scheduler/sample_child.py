"""Children as they come, the unruly ones included. Run as a module by the tests of what supervises children."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType


def _say(*words: object) -> None:
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


def _stop(_number: int, _frame: FrameType | None) -> None:
    _say("stops in order")
    sys.exit(0)


def _wait() -> None:
    while True:
        signal.pause()


def main(behaviour: str, *rest: str) -> int:
    """Behave as told; the answer is the exit code."""
    match behaviour:
        case "exit":
            _say("exits with", rest[0])
            return int(rest[0])
        case "recover":
            # Dies until it has lived as often as the number says.
            book = Path(rest[0])
            lives = len(book.read_text()) + 1 if book.exists() else 1
            book.write_text("x" * lives)
            return 0 if lives > int(rest[1]) else 7
        case "environment":
            _say(os.environ[rest[0]])
            return 0
        case "obey":
            signal.signal(signal.SIGTERM, _stop)
        case "refuse":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "breed":
            _say("child", subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid)
    _say("pid", os.getpid())
    _wait()
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
