"""The picture of the engine's benchmark: where the CPU of a rollout goes, and how late the engine answers.

Owns: its layout. Never measures.
"""

from matplotlib.figure import Figure

from benchmarks.engine.measure import PARTS
from benchmarks.figures import Report
from scheduler.drawing import BLUE, MUTED, head, style


def draw(report: Report) -> Figure:
    """CPU by part on the left, the distribution of turnarounds on the right."""
    turnarounds = sorted(report.raw["turnaround ms at half load"])
    shares = [(number + 1) / len(turnarounds) for number in range(len(turnarounds))]
    with style():
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        parts, times = figure.subplots(1, 2)
        parts.barh(list(reversed(PARTS)), [report.raw[f"CPU ms of {part}"][0] for part in reversed(PARTS)], color=BLUE)
        parts.set_xlabel("CPU-milliseconds per rollout")
        head(parts, "Where the CPU goes", "at the servers' capacity")
        parts.grid(axis="y", visible=False)
        times.plot(turnarounds, shares, color=BLUE)
        times.axhline(0.99, color=MUTED, linewidth=1, linestyle=":")
        times.set_xlim(0, 2 * turnarounds[int(0.99 * (len(turnarounds) - 1))])
        times.set_xlabel("ms from the last pilot's answer to the first commit")
        times.set_ylabel("share of visits")
        head(times, "Added latency", "at half load")
    return figure
