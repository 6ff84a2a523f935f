"""The pictures can be drawn of whatever records there are."""

from pathlib import Path

from benchmarks.target.picture import draw
from benchmarks.target.targets import Targets
from tests.benchmarks.target.records import make_record

TARGETS = Targets(start=0.4, end=0.6, seeds=(0,), accuracy={"80": 0.56, "95": 0.59})
PNG = b"\x89PNG"


def test_both_pictures_are_drawn(tmp_path: Path) -> None:
    stats = {"grad_norm": 5.0, "num_updates": 1.0, "num_clipped_updates": 1.0, "half_batch_cosine": 0.1}
    records = [
        make_record((0.4, 0.5, 0.6), name=name, seed=seed, stats=stats)
        for name in ("grpo", "adaptive", "unheard_of")
        for seed in (0, 1)
    ]
    paths = draw(records, [0.1, 0.5, 0.9], TARGETS, tmp_path, name="equal_mixed", title="A title")
    assert [path.name for path in paths] == ["equal_mixed.png", "equal_mixed-regime.png"]
    assert all(path.read_bytes().startswith(PNG) for path in paths)


def test_runs_without_a_half_batch_cosine_are_drawn_without_it(tmp_path: Path) -> None:
    paths = draw([make_record((0.4, 0.5))], [0.5], None, tmp_path, name="flat", title="A title")
    assert all(path.exists() for path in paths)
