"""The temperature that a trainer computes log-probs at, held against the run's.

Owns: the comparison. Invariant: ratios are taken between log-probs at one temperature only.
"""

from scheduler.core.errors import InvalidInput
from scheduler.training_client import TrainingClient


def check_temperature(client: TrainingClient, theirs: float, *, field: str) -> None:
    """Raise InvalidInput, naming the trainer's setting, where it is not the run's temperature; after `begin`."""
    if theirs != client.temperature:
        raise InvalidInput(
            f"the run samples at temperature {client.temperature:g}, and {field} is {theirs:g}: set it to the run's, "
            "as the servers' log-probs are at that",
            field=field,
        )
