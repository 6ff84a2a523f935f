"""The picture of the table's benchmark: the time of a claim against the number of prompts.

Owns: its layout. Never measures.
"""

from statistics import median, quantiles

from matplotlib.figure import Figure

from benchmarks.figures import Report
from benchmarks.table.measure import CLAIM
from scheduler.drawing import BLUE, MUTED, head, style

_CLAIMS = "claim ms, "


def draw(report: Report) -> Figure:
    """Median and 99th percentile of a claim by the size of the table."""
    found = {what.removeprefix(_CLAIMS): samples for what, samples in report.raw.items() if what.startswith(_CLAIMS)}
    sizes = [int(what.split(" ")[0].replace(",", "")) for what in found]
    with style():
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(sizes, [quantiles(samples, n=100)[-1] for samples in found.values()], "o--", color=MUTED, label="p99")
        axes.plot(sizes, [median(samples) for samples in found.values()], "o-", color=BLUE, label="median")
        axes.axhline(5.0, color=MUTED, linewidth=1, linestyle=":")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("prompts in the table")
        axes.set_ylabel("milliseconds")
        axes.legend(frameon=False)
        head(axes, f"Claim of {CLAIM} prompts", "one transaction, synced to disk")
    return figure
