"""What the metrics page shows of a run.

Owns: the names, labels and help texts of a run's metrics, and where each number comes from. Pure. Invariant: every
number follows from what was read of the run, above all the ledger's counters, so the page agrees with them.
"""

from scheduler.run_metrics.course import COURSE
from scheduler.run_metrics.metric import RunReading
from scheduler.run_metrics.pools import POOLS
from scheduler.run_metrics.spend import SPEND
from scheduler.run_metrics.verdicts import VERDICTS

__all__ = ("RUN_METRICS", "RunReading")

RUN_METRICS = (*COURSE, *SPEND, *VERDICTS, *POOLS)
