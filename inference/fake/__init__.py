"""A scripted SGLang for tests: the real one's state machine without a model.

Owns the public names. `create_fake(FakeServer())` is an ASGI app for httpx.ASGITransport or uvicorn; the FakeServer is
the test's hand on its time, its faults and its death. Invariant: see inference.fake.server.
"""

from inference.fake.app import create_fake
from inference.fake.faults import Drop, FailWith, Fault, Faults, Hang, Mislabel
from inference.fake.launch_config import FakeConfig, fingerprint
from inference.fake.policy import Answer, Ask, BigramPolicy, Policy, ScriptedPolicy
from inference.fake.server import FakeServer
from inference.fake.weight_groups import Air, Leader

__all__ = [
    "Air",
    "Answer",
    "Ask",
    "BigramPolicy",
    "Drop",
    "FailWith",
    "FakeConfig",
    "FakeServer",
    "Fault",
    "Faults",
    "Hang",
    "Leader",
    "Mislabel",
    "Policy",
    "ScriptedPolicy",
    "create_fake",
    "fingerprint",
]
