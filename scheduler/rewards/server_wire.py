"""The wire between the scheduler and a reward server: a question about many completions, and its answer.

Owns: both bodies, and what an HTTP status says of them. Pure. Invariant: an answer is believed as a whole, with one
entry for each completion that was asked about, or not at all; a reward in it is a finite number or a failure, never a
zero that nobody gave.
"""

import json
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from scheduler.core.errors import PilotCommitError, RewardFailed
from scheduler.core.types import Judgement
from scheduler.core.unreadable import UNREADABLE
from scheduler.rewards.spec import RewardJob
from scheduler.rewards.user_function import read_answer

FORMAT = 1
_KEY = "is its key in PILOTCOMMIT_REWARD_SERVER_API_KEY, and its address in PILOTCOMMIT_REWARD_SERVERS?"
_LONGEST_REASON = 500
_LONGEST_QUOTE = 200
_OK = 200
_CONTENT = frozenset({400, 413, 422})
_PASSING = frozenset({408, 425, 429, 502, 503, 504})
_BROKEN = 500


class Fault(StrEnum):
    """What a question that has no answer says of the next one."""

    PASSING = "passing"
    """Asked again, it may be answered."""
    CONTENT = "content"
    """One of its completions may be the reason: others may be judged without it."""
    BROKEN = "broken"
    """Either of these."""
    FINAL = "final"
    """Whatever is asked, the answer will be the same."""


class Unanswered(PilotCommitError):
    """Raised where a reward server gave no answer that can be believed; the scheduler's client of it recovers."""

    def __init__(self, fault: Fault, reason: str, quote: str = "") -> None:
        """`reason` is ours and may be logged; `quote` is the server's, which may have read a completion."""
        super().__init__(f"{reason}: {quote[:_LONGEST_QUOTE]}" if quote else reason)
        self.fault = fault
        self.reason = reason


def completion(ident: str, job: RewardJob) -> bytes:
    """One completion, as it stands in a question."""
    return msgspec.json.encode({"id": ident, "text": job.text, "answer": job.answer, "metadata": job.metadata})


def question(request: str, completions: Sequence[bytes]) -> bytes:
    """The body of a request; `request` is the same however often it is sent."""
    head = msgspec.json.encode({"format": FORMAT, "request": request})
    return b'%s,"completions":[%s]}' % (head[:-1], b",".join(completions))


def read(idents: Sequence[str], status: int, body: bytes) -> list[Judgement | RewardFailed]:
    """What a server said of the completions `idents`, in their order; raises Unanswered where it cannot be believed."""
    if status != _OK:
        raise Unanswered(
            _fault(status), _told(status), " ".join(body[:_LONGEST_REASON].decode(errors="replace").split())
        )
    try:
        # msgspec would refuse the whole answer for a NaN, which is the fault of one completion alone.
        said = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Unanswered(Fault.CONTENT, "its answer is not JSON", str(exc)) from exc
    try:
        rewards = msgspec.convert(said, _Answer).rewards
    except UNREADABLE as exc:
        raise Unanswered(Fault.CONTENT, "its answer is not of the documented form", str(exc)) from exc
    found = {entry.id: entry for entry in rewards}
    if len(rewards) != len(idents) or found.keys() != set(idents):
        missing = len(set(idents) - found.keys())
        raise Unanswered(
            Fault.CONTENT,
            f"it answered {len(rewards)} rewards for {len(idents)} completions, {missing} of them missing",
        )
    return [_judged(found[ident]) for ident in idents]


class _Reward(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    reward: object = None
    correct: object = None
    error: str | None = None


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    rewards: list[_Reward]


def _judged(entry: _Reward) -> Judgement | RewardFailed:
    if entry.error is not None:
        return RewardFailed(f"the reward server: {entry.error}"[:_LONGEST_REASON])
    try:
        return read_answer(entry.reward if entry.correct is None else (entry.reward, entry.correct))
    except RewardFailed as failure:
        return failure


def _fault(status: int) -> Fault:
    if status in _CONTENT:
        return Fault.CONTENT
    if status in _PASSING:
        return Fault.PASSING
    return Fault.BROKEN if status >= _BROKEN else Fault.FINAL


def _told(status: int) -> str:
    match status:
        case 401 | 403:
            return f"it answered {status}: {_KEY}"
        case _ if 300 <= status < 400:
            return f"it answered {status}: redirects are not followed, name where it leads"
        case _:
            return f"it answered {status}"
