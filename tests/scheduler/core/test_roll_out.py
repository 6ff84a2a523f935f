"""How many servers are closed for new weights at a time."""

import pytest

from scheduler.core.roll_out import RollOut, RollOutOrder


def closed_at_most(roll_out: RollOut, num_servers: int) -> int:
    """Servers closed when no further one may be."""
    closed = 0
    while closed < num_servers and roll_out.may_close(num_closed=closed, num_servers=num_servers):
        closed += 1
    return closed


@pytest.mark.parametrize("num_servers", [1, 2, 7])
def test_at_once_closes_every_server(num_servers: int) -> None:
    assert closed_at_most(RollOut(), num_servers) == num_servers


@pytest.mark.parametrize(("share", "num_servers", "closed"), [(0.0, 8, 1), (0.25, 8, 2), (0.25, 7, 1), (0.5, 1, 1)])
def test_rolling_closes_its_share_and_one_at_least(share: float, num_servers: int, closed: int) -> None:
    assert closed_at_most(RollOut(order=RollOutOrder.ROLLING, share=share), num_servers) == closed
