"""Who is inside the fake server.

Owns: the counts behind SGLang's lock between requests and updates. Never waits: FakeServer does. Invariant: one object
a life, so that a request of a dead server never counts in the one that replaced it.
"""

from dataclasses import dataclass, field

from inference.fake.job import Job


@dataclass(slots=True)
class Traffic:
    """Who is inside one life of the server."""

    jobs: dict[str, Job] = field(default_factory=dict)
    readers: int = 0
    """Requests past the pause and not yet answered."""
    writers: int = 0
    """Updates that wait for the readers or run without them."""
    updates: int = 0
    """Updates that are loading right now."""
    num_generated: int = 0
    """Tokens of the requests that were answered."""
    pausing: bool = False
    """A pause is still aborting, or an update waits for a learner."""
