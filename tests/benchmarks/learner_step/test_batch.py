"""The batch that both trainers are given."""

from pathlib import Path

import msgspec

from benchmarks.learner_step.batch import Row, Shape, draw, write_rows

SHAPE = Shape(groups=3, rollouts=4, prompt_tokens=10, completion_tokens=6)


def test_every_group_is_mixed_and_no_completion_comes_twice() -> None:
    for group in draw(SHAPE):
        assert {rollout.reward for rollout in group.rollouts} == {0.0, 1.0}
        assert len({rollout.token_ids for rollout in group.rollouts}) == SHAPE.rollouts


def test_rows_are_the_rollouts_of_the_groups(tmp_path: Path) -> None:
    groups = draw(SHAPE)
    tokens = write_rows(groups, tmp_path / "rows.json")
    rows = msgspec.json.decode((tmp_path / "rows.json").read_bytes(), type=list[Row])
    assert len(rows) == 12
    assert tokens == sum(len(rollout.token_ids) for group in groups for rollout in group.rollouts)
    assert rows[0].prompt_ids == list(groups[0].prompt_ids)
    assert {row.advantage for row in rows} == {-1.0, 1.0}
