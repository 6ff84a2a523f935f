"""The error tree of the whole service.

PilotCommitError
├── InvalidInput               the caller's request is wrong; recovered by the caller, who is told what would be right
│   ├── NotFound               a pool, run, prompt, server or evaluation that does not exist
│   ├── Unauthorised           no token, or one that is not known; recovered by the caller, with a token
│   ├── Forbidden              the token does not grant the scope; recovered by the caller, with another token
│   ├── TooManyRequests        the caller asks too often; recovered by asking again later
│   └── Conflict               right in itself, but not in the present state
│       ├── NotAtWork          the run's engine is not at work here: learners ask again, it may be restarting
│       └── NotClaimable       a prompt is waiting, apart or in a visit: whoever wanted it goes on without it
├── InferenceError             a server did not give a usable completion
│   ├── ServerUnavailable      connect, timeout, 5xx, server gone: a new attempt elsewhere, by the engine
│   ├── ServerRefused          the server rejects the request itself: settled with its reason, never retried
│   ├── Aborted                the attempt was aborted: a new attempt if the visit still wants one
│   ├── ForeignWeights         the server speaks with weights this run never published: the server becomes STALE
│   └── ControlFailed          a control call (pause, update, continue, …) failed: the server becomes STALE
│       └── WeightsUnread      the server does not see, or cannot read, the folder that it was to load
├── RewardFailed               a reward raised, hung or answered nonsense: the rollout is failed, never zero
├── BudgetExhausted            a reservation does not fit what is left: the engine waits for refunds or drains
├── StateError
│   ├── FenceLost              another incarnation holds the run: this one stops at once
│   ├── IllegalMove            a state machine or the ledger was asked for an illegal move: a bug
│   └── SchemaMismatch         Redis holds another schema version or is set up to lose data: refused at start
├── LearnerError
│   ├── InvalidCheckpoint      a checkpoint misses tensors, has wrong shapes or does not match its manifest
│   └── StaleIncarnation       a newer learner incarnation has attached: the older one stops
└── StreamEnded                the group stream is over; carries the run's last word
"""


class PilotCommitError(Exception):
    """Root of every error this service raises on purpose."""


class InvalidInput(PilotCommitError):
    """The caller's request is wrong.

    `field` names what is wrong (a dotted path, a line number or an id); the message says what would be right.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(InvalidInput):
    """Raised for an id that names nothing."""


class Unauthorised(InvalidInput):
    """Raised for a request without a token, or with one that is not known."""


class Forbidden(InvalidInput):
    """Raised where a token does not grant the scope that is needed."""


class TooManyRequests(InvalidInput):
    """Raised by clients where the scheduler says that they ask too often."""


class Conflict(InvalidInput):
    """Raised when the request is right in itself but not in the present state."""


class NotAtWork(Conflict):
    """The run's engine is not at work in this scheduler now; it may be queued, starting or taken over."""


class NotClaimable(Conflict):
    """Raised where a prompt, its `field`, is in another place than among those that can be claimed."""


class InferenceError(PilotCommitError):
    """A server did not give a usable completion or answer."""


class ServerUnavailable(InferenceError):
    """Infrastructure: connect, timeout, 5xx, queue full, server gone. A new attempt may succeed."""


class ServerRefused(InferenceError):
    """The server rejects the request itself (400): the same request will never succeed."""


class Aborted(InferenceError):
    """The attempt was aborted on the server; partial tokens are dropped.

    `num_tokens` is how many had been generated; None where the server does not say.
    """

    def __init__(self, message: str, *, num_tokens: int | None = None) -> None:
        super().__init__(message)
        self.num_tokens = num_tokens


class ForeignWeights(InferenceError):
    """A completion carries a weight version that is not one of this run's."""


class ControlFailed(InferenceError):
    """A control call failed; what the server now holds is unknown until it is confirmed again."""


class WeightsUnread(ControlFailed):
    """The server keeps its weights: it found none that it can read where it was told to."""


class RewardFailed(PilotCommitError):
    """A reward raised, hung or answered something that is not a finite number."""


class BudgetExhausted(PilotCommitError):
    """A reservation does not fit into what is left of the budget."""


class StateError(PilotCommitError):
    """The durable state refuses."""


class FenceLost(StateError):
    """Another scheduler incarnation holds the run's lease."""


class IllegalMove(StateError):
    """A lifecycle or ledger move that the table of legal moves does not have."""


class SchemaMismatch(StateError):
    """The Redis server holds another schema version, or is configured so that it may lose data."""


class LearnerError(PilotCommitError):
    """The learner cannot go on."""


class InvalidCheckpoint(LearnerError):
    """A checkpoint misses tensors, has wrong shapes or does not match its manifest."""


class StaleIncarnation(LearnerError):
    """A newer learner incarnation has attached to the run."""


class StreamEnded(PilotCommitError):
    """The group stream is over; the message is the run's last word."""
