"""`python -m deploy.grafana`: write the dashboards that Grafana is provisioned with.

Owns: the folder they are in. Invariant: it holds the dashboards of the code and nothing else.
"""

import sys
from pathlib import Path

from deploy.grafana.boards import BOARDS
from deploy.grafana.drawing import drawn

FOLDER = Path(__file__).parent / "dashboards"


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    for board in BOARDS:
        (FOLDER / f"{board.name}.json").write_text(drawn(board))
        sys.stdout.write(f"wrote {board.name}.json\n")


if __name__ == "__main__":
    main()
