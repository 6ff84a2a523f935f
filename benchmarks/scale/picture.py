"""The picture of scale: servers kept busy and the cost of a rollout, by the number of servers.

Owns: its layout. Never measures.
"""

from matplotlib.figure import Figure

from benchmarks.figures import Report
from scheduler.drawing import BLUE, MUTED, head, style


def draw(report: Report) -> Figure:
    """Utilisation on the left, cost on the right."""
    sizes = report.raw["servers"]
    with style():
        figure = Figure(figsize=(11, 4), layout="constrained")
        busy, cost = figure.subplots(1, 2)
        busy.plot(sizes, [100 * share for share in report.raw["busy"]], "o-", color=BLUE)
        busy.axhline(98, color=MUTED, linewidth=1, linestyle=":")
        busy.set_ylim(80, 100.5)
        busy.set_ylabel("per cent of slots in use")
        head(busy, "Servers kept busy", "virtual time")
        cost.plot(sizes, report.raw["CPU ms a rollout"], "o-", color=BLUE)
        cost.set_ylim(bottom=0)
        cost.set_ylabel("CPU-milliseconds a rollout")
        head(cost, "Cost of a rollout", "engine, clients, stand-ins")
        for axes in (busy, cost):
            axes.set_xscale("log", base=2)
            axes.set_xlabel("servers")
    return figure
