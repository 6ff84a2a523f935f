"""One atomic state change of a run.

Owns: building a change from intents and applying it with one Lua script. Never decides. Invariants: a change is applied
whole or not at all, only under the current fence, at most once however often it is retried, never with a counter below
zero, and never beyond a limit it was given.

The run's lease has a single holder, so values are computed in Python and only their application has to be atomic.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Literal

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from scheduler.core.errors import BudgetExhausted, Conflict, FenceLost, IllegalMove
from scheduler.core.ledger import Move, deltas
from scheduler.state.keys import RunKeys

Operand = str | bytes | int | float
_HEAD = 2
"""Arguments of the script before the operands: the fence and the program."""
Command = Literal["HSET", "HDEL", "ZADD", "ZREM", "LPUSH", "LTRIM", "RPUSH", "DEL"]


class Transaction:
    """A state change being built; `Transactor.apply` applies it."""

    def __init__(self, keys: RunKeys) -> None:
        self.keys = keys
        self.transaction_id = uuid.uuid4().hex
        self._keys = {keys.lease: 1, keys.done(self.transaction_id): 2}
        """Keys with their numbers, from 1."""
        self._operands: list[Operand] = []
        self._checks: list[list[str | int]] = []
        self._refusals: list[Callable[[int], Exception]] = []
        """Of each check, the error for what it found wrong."""
        self._counters: dict[tuple[str, str], int] = {}
        self._operations: list[list[str | int]] = []

    def copy(self) -> "Transaction":
        """The same change so far, as one of its own: what is added to it, or becomes of it, leaves this one alone."""
        copied = Transaction(self.keys)
        of_its_own = len(copied._keys)
        copied._keys |= {key: number for key, number in self._keys.items() if number > of_its_own}
        copied._operands = list(self._operands)
        copied._checks = list(self._checks)
        copied._refusals = list(self._refusals)
        copied._counters = dict(self._counters)
        copied._operations = list(self._operations)
        return copied

    def _key(self, key: str) -> int:
        return self._keys.setdefault(key, len(self._keys) + 1)

    def _range(self, operands: Iterable[Operand]) -> list[int]:
        """Where operands stand in ARGV: the first, and how many."""
        first = len(self._operands) + _HEAD + 1
        self._operands += operands
        return [first, len(self._operands) + _HEAD + 1 - first]

    def _check(self, kind: str, key: str, operands: Iterable[Operand], otherwise: Exception) -> None:
        self._check_each(kind, key, operands, lambda _: otherwise)

    def _check_each(
        self, kind: str, key: str, operands: Iterable[Operand], otherwise: Callable[[int], Exception]
    ) -> None:
        self._checks.append([kind, self._key(key), *self._range(operands)])
        self._refusals.append(otherwise)

    def run(self, command: Command, key: str, *operands: Operand) -> None:
        """Append one Redis command on one key."""
        self._operations.append([command, self._key(key), *self._range(operands)])

    def require_ranked(self, key: str, members: Sequence[str], otherwise: Callable[[str], Exception]) -> None:
        """Refuse unless the sorted set has all these members; with the error of the first that it lacks."""
        self._check_each("ranked", key, members, lambda found: otherwise(members[found - 1]))

    def take_ranked(self, key: str, members: Sequence[str], otherwise: Callable[[str], Exception]) -> None:
        """Take these members out of the sorted set; refuse with the error of the first that it lacks."""
        self.require_ranked(key, members, otherwise)
        # What was checked is what is taken: named once, however many they are.
        self._operations.append(["ZREM", *self._checks[-1][1:]])

    def require_field(self, key: str, field: str, otherwise: Exception) -> None:
        """Refuse with `otherwise` unless the hash has the field."""
        self._check("has", key, [field], otherwise)

    def require_no_field(self, key: str, field: str, otherwise: Exception) -> None:
        """Refuse with `otherwise` if the hash has the field."""
        self._check("lacks", key, [field], otherwise)

    def require_equal(self, key: str, field: str, value: Operand, otherwise: Exception) -> None:
        """Refuse with `otherwise` unless the hash's field holds `value` (a missing field reads as empty)."""
        self._check("equals", key, [field, value], otherwise)

    def require_limit(self, fields: Iterable[str], add: int, limit: int | None) -> None:
        """Refuse with BudgetExhausted if the ledger counters' sum plus `add` exceeds `limit`; None never does."""
        if limit is not None:
            names = list(fields)
            error = BudgetExhausted(f"{' + '.join(names)} + {add} would exceed {limit}")
            self._check("limit", self.keys.ledger, [add, limit, *names], error)

    def count(self, name: str, delta: int) -> None:
        """Change one ledger counter."""
        self.count_in(self.keys.ledger, name, delta)

    def count_in(self, key: str, field: str, delta: int) -> None:
        """Change one counter of a hash; the whole change is refused if it would go below zero."""
        self._counters[key, field] = self._counters.get((key, field), 0) + delta

    def move(self, *moves: Move) -> None:
        """Move attempts between open states and outcomes."""
        for name, delta in deltas(moves).items():
            self.count(name, delta)

    def script_arguments(self, fence: int | None) -> tuple[list[str], list[Operand]]:
        """KEYS and ARGV of the script."""
        changes = [
            [self._key(key), *self._range((field, delta))] for (key, field), delta in self._counters.items() if delta
        ]
        program = {"checks": self._checks, "counters": changes, "operations": self._operations}
        head: list[Operand] = ["" if fence is None else str(fence), json.dumps(program)]
        return list(self._keys), head + self._operands

    def refusal(self, number: int, found: int) -> Exception:
        """The error of the `number`-th check for the `found`-th thing that it can find wrong, both from 1."""
        return self._refusals[number - 1](found)


class Transactor:
    """Applies transactions under one fence."""

    def __init__(self, redis: "Redis", keys: RunKeys, fence: int | None) -> None:
        self.redis = redis
        self.keys = keys
        self.fence = fence
        source = files("scheduler.state").joinpath("lua/transaction.lua").read_text()
        self._script: AsyncScript = redis.register_script(source)

    def begin(self) -> Transaction:
        """A new, empty change."""
        return Transaction(self.keys)

    async def apply(self, transaction: Transaction) -> None:
        """Apply the change whole, or raise.

        Raises FenceLost if another incarnation holds the run, the check's own error where one fails, IllegalMove if a
        counter would go below zero.
        """
        keys, operands = transaction.script_arguments(self.fence)
        answer = await self._script(keys=keys, args=operands)
        match [part.decode() if isinstance(part, bytes) else part for part in answer]:
            case ["ok"] | ["replayed"]:
                return
            case ["fence"]:
                raise FenceLost(f"run {self.keys.run_id}: fence {self.fence} is no longer the current one")
            case ["refused", int(number), int(found)]:
                raise transaction.refusal(number, found)
            case ["negative", str(field)]:
                raise IllegalMove(f"run {self.keys.run_id}: counter {field} would go below zero")
            case other:
                raise Conflict(f"unexpected answer of the transaction script: {other}")
