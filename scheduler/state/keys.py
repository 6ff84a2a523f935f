"""The keys in Redis, all of them.

Owns: key names. Invariant: every key of a run carries the hash tag of that run and every key of a pool the tag of that
pool, and no transaction touches two tags, so that Redis Cluster works.
"""

from dataclasses import dataclass

SCHEMA_VERSION = "3"
SCHEMA = "pilotcommit:schema"
RUNS = "pilotcommit:runs"
POOLS = "pilotcommit:pools"
FLEET_ORDERS = "pilotcommit:fleet:orders"
"""Hash: address of a server → what an operator ordered of it."""


@dataclass(frozen=True, slots=True)
class PoolKeys:
    """Keys of one pool."""

    name: str

    def _key(self, part: str) -> str:
        return f"pilotcommit:{{pool:{self.name}}}:{part}"

    @property
    def meta(self) -> str:
        """Hash: tokenizer, reward, created."""
        return self._key("meta")

    @property
    def prompts(self) -> str:
        """Hash: prompt id → prompt."""
        return self._key("prompts")

    @property
    def order(self) -> str:
        """Sorted set: prompt id by its sequence number of arrival."""
        return self._key("order")


@dataclass(frozen=True, slots=True)
class RunKeys:
    """Keys of one run."""

    run_id: str

    def _key(self, part: str) -> str:
        return f"pilotcommit:{{run:{self.run_id}}}:{part}"

    def done(self, transaction_id: str) -> str:
        """String: that transaction was applied; kept for a while, so that a retry is not applied twice."""
        return self._key(f"done:{transaction_id}")

    def history(self, prompt_id: str) -> str:
        """List: what happened to one prompt, newest first, capped."""
        return self._key(f"history:{prompt_id}")

    @property
    def lease(self) -> str:
        """Hash: who holds the run (fence, holder)."""
        return self._key("lease")

    @property
    def lease_alive(self) -> str:
        """String with expiry: the holder is alive."""
        return self._key("lease:alive")

    @property
    def meta(self) -> str:
        """Hash: configuration, state and its reason, versions, steps, learner."""
        return self._key("meta")

    @property
    def ledger(self) -> str:
        """Hash: counters by stage and status, tokens, reservations, verdicts."""
        return self._key("ledger")

    @property
    def ready(self) -> str:
        """Sorted set: claimable prompts, lowest score first."""
        return self._key("ready")

    def ready_of(self, pool: str) -> str:
        """Sorted set: likewise of one pool, in a run that mixes several."""
        return self._key(f"ready:{pool}")

    @property
    def waiting(self) -> str:
        """Sorted set: deferred and evicted prompts by the weight version at which they return."""
        return self._key("waiting")

    @property
    def quarantined(self) -> str:
        """Sorted set: prompts never claimed again unless reinstated."""
        return self._key("quarantined")

    @property
    def table(self) -> str:
        """Hash: prompt id → its row of the informativeness table, as msgpack: there may be millions."""
        return self._key("table")

    @property
    def visits(self) -> str:
        """Hash: visit id → the open visit."""
        return self._key("visits")

    @property
    def rollouts(self) -> str:
        """Hash: visit id → the rollouts it holds."""
        return self._key("rollouts")

    @property
    def groups(self) -> str:
        """Hash: group id → the group's payload, trimmed once trained."""
        return self._key("groups")

    @property
    def index(self) -> str:
        """Hash: group id → what is known of an open group without its payload."""
        return self._key("index")

    @property
    def records(self) -> str:
        """Hash: visit id → what became of it and of each of its attempts, for the newest visits."""
        return self._key("records")

    @property
    def group_endings(self) -> str:
        """Hash: group id → how it ended, for groups whose visit is in `records`."""
        return self._key("group_endings")

    @property
    def recorded(self) -> str:
        """Sorted set: visits that have ended and are in `records`, by when."""
        return self._key("recorded")

    @property
    def completions(self) -> str:
        """Hash: visit id → the texts of its rollouts, compressed, for the newest visits that have ended."""
        return self._key("completions")

    @property
    def completed(self) -> str:
        """Sorted set: visits that are in `completions`, by when they ended."""
        return self._key("completed")

    @property
    def completions_size(self) -> str:
        """Hash: the bytes that `completions` has."""
        return self._key("completions_size")

    @property
    def course(self) -> str:
        """List: what happened to the run as a whole, newest first, capped."""
        return self._key("course")

    @property
    def unsolved(self) -> str:
        """Sorted set: prompts with rollouts of which none was ever right, by rollouts."""
        return self._key("unsolved")

    @property
    def wrong_answers(self) -> str:
        """Hash: prompt id → what its last visit answered most often, for prompts in `unsolved`."""
        return self._key("wrong_answers")

    @property
    def weights(self) -> str:
        """Hash: weight version → its record."""
        return self._key("weights")

    @property
    def evaluations(self) -> str:
        """Hash: evaluation id → its record."""
        return self._key("evaluations")
