from scheduler.simulator.turns import Turns


def one_epoch(turns: Turns) -> list[int]:
    """Everybody's turn, in order."""
    epoch, order = turns.epoch, []
    while (ready := turns.sample(1)) and turns.epoch == epoch:
        turns.take(ready[0])
        turns.put_back(ready[0])
        order.append(ready[0])
    return order


def test_every_prompt_has_its_turn_once_an_epoch_in_an_order_shuffled_anew() -> None:
    turns = Turns(50, seed=1)
    first, second = one_epoch(turns), one_epoch(turns)

    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != sorted(second)


def test_the_order_depends_on_the_seed_alone() -> None:
    assert one_epoch(Turns(50, seed=1)) == one_epoch(Turns(50, seed=1)) != one_epoch(Turns(50, seed=2))


def test_a_sample_is_bounded_and_what_is_not_taken_stays_in_front() -> None:
    turns = Turns(50, seed=1)
    sample = turns.sample(8)
    turns.take(sample[3])

    assert len(sample) == 8
    assert turns.sample(7) == sample[:3] + sample[4:]


def test_a_prompt_that_is_taken_is_nobody_elses_until_it_is_put_back() -> None:
    turns = Turns(2, seed=1)
    first, second = turns.sample(2)
    turns.take(first)
    turns.take(second)
    assert turns.sample(2) == []

    turns.put_back(second)
    assert turns.sample(2) == [second]


def test_a_waiting_prompt_returns_at_its_version_and_not_within_the_epoch_of_its_turn() -> None:
    turns = Turns(3, seed=1)
    first, *others = turns.sample(3)
    turns.take(first)
    turns.wait(first, 2)

    turns.return_due(1)
    assert turns.sample(3) == others
    turns.return_due(2)
    assert turns.sample(3) == others
    for other in others:
        turns.take(other)
    assert turns.sample(3) == [first]
    assert turns.epoch > 0


def test_a_prompt_that_waited_through_an_epochs_end_returns_ahead_of_those_visited_more_often() -> None:
    turns = Turns(3, seed=1)
    first, *others = turns.sample(3)
    turns.take(first)
    turns.wait(first, 2)
    for _ in range(2):
        for prompt in turns.sample(3):
            turns.take(prompt)
            turns.put_back(prompt)
    turns.sample(1)
    turns.return_due(2)

    assert turns.sample(3)[0] == first
    assert sorted(turns.sample(3)) == sorted([first, *others])


def test_those_that_wait_least_return_first_when_nothing_is_left() -> None:
    turns = Turns(3, seed=1)
    for wait, prompt in zip((30, 10, 20), turns.sample(3), strict=True):
        turns.take(prompt)
        turns.wait(prompt, wait)
        if wait == 10:
            least = prompt

    assert turns.sample(3) == []
    turns.return_earliest(1)
    assert turns.sample(3) == [least]
