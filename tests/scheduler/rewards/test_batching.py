"""How many completions go into one request."""

from scheduler.rewards.batching import Terms


def test_a_batch_is_bounded_by_number_and_by_bytes_and_is_never_empty() -> None:
    terms = Terms(batch=3, most_bytes=100)
    assert terms.first([]) == 0
    assert terms.first([10, 10]) == 2
    assert terms.first([10, 10, 10, 10]) == 3
    assert terms.first([60, 60, 60]) == 1
    assert terms.first([50, 50, 1]) == 2
    assert terms.first([1000, 1]) == 1, "one that is too long alone goes alone"
