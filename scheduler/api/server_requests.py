"""What the API is sent about servers.

Owns: the request models of servers.
"""

from pydantic import Field

from scheduler.api.request import Request, Text, example


class NewServer(Request):
    """A server to add to the fleet."""

    model_config = example(url="http://10.0.0.7:30000")

    url: Text = Field(min_length=1, examples=["http://10.0.0.7:30000"])
    """Its address, without a name or password; the scheduler has the servers' keys."""
    labels: dict[Text, Text] = Field({}, examples=[{"gpu": "h100"}])
    """By which runs choose it; they go over those that the file of servers gives it."""


class NewGateway(Request):
    """A gateway whose servers are to be added to the fleet."""

    model_config = example(url="http://10.0.0.2:30000")

    url: Text = Field(min_length=1, examples=["http://10.0.0.2:30000"])
    """Its address, without a name or password."""
    labels: dict[Text, Text] = Field({}, examples=[{"gpu": "h100"}])
    """Of every server that is added."""
