"""The picture of the group stream: bytes a second, and the scheduler's memory meanwhile.

Owns: its layout. Never measures.
"""

from matplotlib.figure import Figure

from benchmarks.figures import Report
from scheduler.drawing import BLUE, MUTED, head, style


def draw(report: Report) -> Figure:
    """Rates on the left, memory over the stream on the right."""
    memory = report.raw["scheduler MiB"]
    with style():
        figure = Figure(figsize=(11, 4), layout="constrained")
        rates, over_time = figure.subplots(1, 2)
        rates.barh(
            ["groups, read and applied", "raw HTTP"],
            [report.raw["MiB/s"][0], report.raw["raw MiB/s"][0]],
            color=[BLUE, MUTED],
        )
        rates.set_xlabel("MiB a second")
        rates.grid(axis="y", visible=False)
        head(rates, "Group stream", "loopback")
        over_time.plot([100 * place / max(1, len(memory) - 1) for place in range(len(memory))], memory, color=BLUE)
        over_time.set_ylim(bottom=0)
        over_time.set_xlabel("per cent of the stream")
        over_time.set_ylabel("MiB resident")
        head(over_time, "Scheduler's memory", "while it streams")
    return figure
