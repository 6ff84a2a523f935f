"""Hand-made records."""

from collections.abc import Mapping, Sequence

from benchmarks.target.record import End, Evaluation, Header, Record, Version


def make_record(
    accuracies: Sequence[float] = (0.4, 0.5),
    *,
    name: str = "grpo",
    seed: int = 0,
    comparison: str = "equal_mixed",
    rollouts_per_step: int = 100,
    evaluation_s: float = 0.0,
    stats: Mapping[str, float] | None = None,
) -> Record:
    """A record with an evaluation at every step; a step takes ten seconds and ten tokens a rollout."""
    steps = range(len(accuracies))
    return Record(
        header=Header(
            command="python -m benchmarks.target run",
            commit="abc",
            versions={"python": "3.11.7"},
            cores=2,
            comparison=comparison,
            name=name,
            seed=seed,
            learner_settings={"LEARNING_RATE": "1e-05"},
            server_dtype="float32",
            request={"allocator": name},
            num_prompts=1024,
            num_held_out=128,
            started_at="2026-01-01T00:00:00+00:00",
        ),
        versions=tuple(
            Version(
                step=step,
                version=step + 1,
                elapsed_s=10.0 * step + evaluation_s * step,
                evaluation_s=evaluation_s * step,
                spent_rollouts=rollouts_per_step * step,
                spent_tokens=10 * rollouts_per_step * step,
                stats=dict(stats or {"grad_norm": 5.0, "num_updates": 1.0, "num_clipped_updates": 1.0}) if step else {},
            )
            for step in steps
        ),
        evaluations=tuple(
            Evaluation(step=step, version=step + 1, accuracy=accuracy, seconds=evaluation_s)
            for step, accuracy in enumerate(accuracies)
        ),
        end=End(
            state="exhausted",
            reason="the budget is spent",
            reached_target=False,
            elapsed_s=10.0 * len(accuracies),
            considered=8,
            skip_rates={},
            ledger={"balanced": True},
            restarts={},
        ),
    )
