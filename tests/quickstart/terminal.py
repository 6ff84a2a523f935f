"""A terminal: one bash that keeps what it was told, a block at a time.

Owns: the shell, what it prints, and its end. Never reads a document. Invariants: a command that fails ends its block
with an error that has what was printed last; a terminal that is closed leaves no process of its own behind.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

_MARK = "---- the block is through ----"
_KEPT_LINES = 30
_INTERRUPT_S = 90.0


class Terminal:
    """A shell in a folder; commands read nothing from us, and what they print is printed."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, log: Path | None = None, out: IO[str] = sys.stdout
    ) -> None:
        """With a log, what is printed goes there: of a terminal that goes on nobody reads."""
        commands, self._typing = os.pipe()
        self._out = out
        self._log = None if log is None else log.open("w")
        self._last = deque[str](maxlen=_KEPT_LINES)
        # Bash reads its commands from a pipe of their own, so that no command takes the next for its input. Its
        # interrupt is ours to send: a session of its own.
        self._shell = subprocess.Popen(
            # Where we were started in the background an interrupt is ignored, and bash would leave it so.
            ("env", "--default-signal=INT", "bash", "--noprofile", "--norc", "-euo", "pipefail", f"/dev/fd/{commands}"),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._log or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=(commands,),
            start_new_session=True,
        )
        os.close(commands)

    def type(self, lines: tuple[str, ...]) -> None:
        """Give the shell commands, and go on without waiting for them."""
        os.write(self._typing, "".join(f"{line}\n" for line in lines).encode())

    def run(self, lines: tuple[str, ...]) -> None:
        """Give the shell commands and wait for their end; raises RuntimeError with what a failing one said."""
        self.type((*lines, f"echo '{_MARK}'"))
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            if line.strip() == _MARK:
                return
            self._last.append(line)
            self._out.write(f"    {line}")
            self._out.flush()
        raise RuntimeError(f"the shell ended with code {self._shell.wait()}:\n{''.join(self._last)}")

    @property
    def has_ended(self) -> bool:
        """Whether its shell is gone, which one that goes on never is."""
        return self._shell.poll() is not None

    def close(self, *, interrupt: bool = False) -> int:
        """End it, with Ctrl-C for what still goes on; the exit code of the shell."""
        os.close(self._typing)
        if interrupt:
            self._signal(signal.SIGINT)
        try:
            said, _ = self._shell.communicate(timeout=_INTERRUPT_S)
            self._out.write(said or "")
        except subprocess.TimeoutExpired as expired:
            self._signal(signal.SIGKILL)
            self._shell.communicate()
            raise RuntimeError(f"it goes on {_INTERRUPT_S:g} s after its end was asked for") from expired
        finally:
            if self._log is not None:
                self._log.close()
        return self._shell.returncode

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, number)
