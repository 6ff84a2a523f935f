"""What the scheduler can be asked, apart from HTTP.

Owns: its four sides, and what they share. Never formats an answer.
"""

from collections.abc import Sequence
from pathlib import Path

from inference.client import ServerClient
from scheduler.checkpoints import Checkpoints
from scheduler.engine.assembly import EngineSettings, Surroundings
from scheduler.fleet import Connect, ConnectNamed, Fleet, Roster
from scheduler.rewards.pool import RewardPool
from scheduler.service.conductor import Conductor
from scheduler.service.learner_desk import LearnerDesk
from scheduler.service.orders import Orders
from scheduler.service.views import Views
from scheduler.state.connection import Redis
from scheduler.state.fleet_orders import FleetOrders
from scheduler.state.pools import PoolStore
from scheduler.state.runs import RunStore
from scheduler.tokenizers import Tokenizers


class Service:
    """The scheduler: who is at work, what can be seen of it, what it can be told by operators and by learners."""

    def __init__(
        self,
        redis: Redis,
        fleet: Fleet,
        rewards: RewardPool,
        settings: EngineSettings,
        *,
        connect: Connect,
        connect_named: ConnectNamed | None = None,
        servers: Sequence[str] = (),
        incarnation: str | None = None,
        lease_ttl_s: float = 15.0,
        model: Path | None = None,
        weight_roots: Sequence[Path] | None = None,
    ) -> None:
        """`servers`: addresses that the settings name; `connect` makes a client for one.

        `connect_named` does so for one that is named over the API, and says which may be; without it, any.
        """
        self.redis = redis
        self.fleet = fleet
        self.rewards = rewards
        self.tokenizers = Tokenizers()
        self.pools = PoolStore(redis)
        self.runs = RunStore(redis)
        self.roster = Roster(
            fleet,
            FleetOrders(redis),
            connect=connect,
            connect_named=connect_named or _any_of(connect),
            configured=servers,
        )
        around = Surroundings(redis=redis, fleet=fleet, rewards=rewards, tokenizers=self.tokenizers, settings=settings)
        self.conductor = Conductor(around, self.roster, incarnation=incarnation, lease_ttl_s=lease_ttl_s)
        self.views = Views(redis, self.conductor)
        checkpoints = Checkpoints(model, weight_roots)
        self.orders = Orders(redis, self.conductor, self.views, checkpoints, model=model, paths=settings.paths)
        self.learner_desk = LearnerDesk(
            self.conductor,
            self.runs,
            checkpoints,
            settings.paths,
            heartbeat_s=settings.delivery.heartbeat_s,
        )


def _any_of(connect: Connect) -> ConnectNamed:
    async def connect_named(url: str) -> ServerClient:
        return connect(url)

    return connect_named
