"""What Prometheus can scrape of a learner.

Owns: the metrics, their registry and its HTTP endpoint. Never computes a number. Invariant: labels come from closed
sets; a counter counts what happened in this process, a gauge says what the last step said.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from learner.step_report import StepReport
from scheduler.core.errors import InvalidInput

PREFIX = "pilotcommit_learner"


class LearnerMetrics:
    """One learner's metrics in a registry of their own."""

    def __init__(self, run_id: str) -> None:
        self.registry = CollectorRegistry()
        self._run_id = run_id
        self._gauges = {
            name: self._gauge(name, text)
            for name, text in (
                ("loss", "Loss of the last step, averaged over tokens"),
                ("grad_norm", "Gradient norm of the last step before clipping"),
                ("learning_rate", "Learning rate of the last update"),
                ("mismatch_mean", "Mean absolute difference of server and learner log-probs, in nats"),
                ("kl_mean", "Estimated KL divergence of the servers' policy from the learner's, in nats a token"),
                ("ratio_mean", "Mean probability ratio of the last step"),
                ("clipped_high_rate", "Share of tokens stopped by the upper clip"),
                ("clipped_low_rate", "Share of tokens stopped by the lower clip"),
                ("clipped_dual_rate", "Share of tokens stopped by the dual clip"),
                ("capped_rate", "Share of tokens whose importance weight was truncated"),
            )
        }
        self._step = self._gauge("step", "Training steps taken by this run")
        self._version = self._gauge("weight_version", "Weight version of the policy")
        self._updates = self._counter("updates", "Optimiser updates, by whether the gradient was clipped", "clipped")
        self._tokens = self._counter("tokens", "Tokens computed, by kind: prompt, completion", "kind")
        self._groups = self._counter("groups", "Groups received, by fate: mixed, uniform, refused", "fate")
        self._seconds = self._counter("seconds", "Time spent, by part of the work", "part")

    def stepped(self, report: StepReport, *, step: int, version: int, num_refused: int) -> None:
        """Record one step, its weights already announced."""
        stats = report.stats
        for name, gauge in self._gauges.items():
            gauge.set(stats[name])
        self.at(step=step, version=version)
        self._updates.labels(self._run_id, "true").inc(report.num_clipped_updates)
        self._updates.labels(self._run_id, "false").inc(report.num_updates - report.num_clipped_updates)
        self._tokens.labels(self._run_id, "prompt").inc(report.num_prompt_tokens)
        self._tokens.labels(self._run_id, "completion").inc(report.sums.num_tokens)
        self._groups.labels(self._run_id, "mixed").inc(report.num_mixed_groups)
        self._groups.labels(self._run_id, "uniform").inc(report.num_uniform_groups)
        self._groups.labels(self._run_id, "refused").inc(num_refused)
        for part in ("pack", "forward", "backward", "optimise"):
            self.spent(part, stats[f"{part}_s"])

    def at(self, *, step: int, version: int) -> None:
        """Say where the run is."""
        self._step.set(step)
        self._version.set(version)

    def spent(self, part: str, seconds: float) -> None:
        """Add to the time of one part: pack, forward, backward, optimise, publish or checkpoint."""
        self._seconds.labels(self._run_id, part).inc(seconds)

    @contextmanager
    def serving(self, port: int, host: str = "0.0.0.0") -> Iterator[None]:
        """Answer scrapes on `port` while inside; port 0 serves nothing. Raises InvalidInput if it cannot be had."""
        if port == 0:
            yield
            return
        try:
            server, thread = start_http_server(port, host, registry=self.registry)
        except OSError as exc:
            raise InvalidInput(
                f"metrics cannot be served at {host}:{port}: {exc.strerror or exc}; name another port, or 0 for none",
                field="metrics_port",
            ) from exc
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, ["run"], registry=self.registry).labels(self._run_id)

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, ["run", label], registry=self.registry)
