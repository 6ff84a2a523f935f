"""Uses the client wrongly, twice: a type checker that sees the installation's types finds both."""

from scheduler.client import Client


def spent(client: Client) -> int:
    """The ledger is an object, and a run has a name."""
    client.run(7)
    return client.ledger("run")
