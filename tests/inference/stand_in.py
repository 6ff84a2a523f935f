"""Stands in for SGLang's interpreter where only processes matter: serves /ready, with a child of its own.

Behaves as $STAND_IN says: "serve" (the default), "exit" (says why and ends), "stubborn" (ignores SIGTERM) or "silent"
(is never ready).
"""

import http.server
import os
import signal
import subprocess
import sys

MODE = os.environ.get("STAND_IN", "serve")


class Ready(http.server.BaseHTTPRequestHandler):
    """Answers every GET with 200, and dies of /die."""

    def do_GET(self) -> None:
        if self.path == "/die":
            os._exit(9)
        self.send_response(200 if MODE != "silent" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        sys.stdout.write(f"asked {self.path}\n")
        sys.stdout.flush()


def main() -> None:
    """Play the server that the command line describes."""
    if MODE == "exit":
        sys.exit("no such model: that is why")
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Like SGLang's own children it ignores everything but a kill, and dies with its parent only if the group is killed.
    subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 60; done"], stdout=subprocess.DEVNULL)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    model = sys.argv[sys.argv.index("--model-path") + 1]
    sys.stdout.write(f"serving {model}\n")
    sys.stdout.flush()
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Ready).serve_forever()


if __name__ == "__main__":
    main()
