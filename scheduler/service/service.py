"""What the scheduler can be asked, apart from HTTP.

Owns: its four sides, and what they share. Never formats an answer.
"""

from collections.abc import Sequence
from pathlib import Path

from inference.client import ServerClient
from inference.gateway import Gateway
from scheduler.checkpoints import Checkpoints
from scheduler.engine.assembly import EngineSettings, Surroundings
from scheduler.fleet import PLAIN, Connect, ConnectGateway, ConnectNamed, Describe, Fleet, Roster
from scheduler.rewards.pool import RewardPool
from scheduler.service.conductor import Conductor
from scheduler.service.learner_desk import LearnerDesk
from scheduler.service.orders import Orders
from scheduler.service.views import Views
from scheduler.state.connection import Redis
from scheduler.state.fleet_orders import FleetOrders
from scheduler.state.pools import PoolStore
from scheduler.state.runs import RunStore


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
        connect_gateway: ConnectGateway | None = None,
        describe: Describe = lambda url: PLAIN,
        servers: Sequence[str] = (),
        incarnation: str | None = None,
        lease_ttl_s: float = 15.0,
        model: Path | None = None,
        weight_roots: Sequence[Path] | None = None,
    ) -> None:
        """`servers`: addresses that the settings name; `connect` makes a client for one.

        `connect_named` does so for one that is named over the API, and says which may be; without it, any. `describe`
        says what is particular of one.
        """
        self.redis = redis
        self.fleet = fleet
        self.rewards = rewards
        self.tokenizers = fleet.tokenizers
        self.pools = PoolStore(redis)
        self.runs = RunStore(redis)
        self.roster = Roster(
            fleet,
            FleetOrders(redis),
            connect=connect,
            connect_named=connect_named or _any_of(connect),
            connect_gateway=connect_gateway or _gateway_at,
            describe=describe,
            configured=servers,
        )
        around = Surroundings(redis=redis, fleet=fleet, rewards=rewards, tokenizers=self.tokenizers, settings=settings)
        self.conductor = Conductor(around, self.roster, incarnation=incarnation, lease_ttl_s=lease_ttl_s)
        self.views = Views(redis, self.conductor)
        checkpoints = Checkpoints(model, weight_roots)
        self.orders = Orders(redis, self.conductor, self.views, checkpoints, rewards, model=model, paths=settings.paths)
        self.learner_desk = LearnerDesk(
            self.conductor,
            self.runs,
            checkpoints,
            settings.paths,
            heartbeat_s=settings.delivery.heartbeat_s,
        )


async def _gateway_at(url: str) -> Gateway:
    return Gateway(url)


def _any_of(connect: Connect) -> ConnectNamed:
    async def connect_named(url: str) -> ServerClient:
        return connect(url)

    return connect_named
