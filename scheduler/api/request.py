"""What all requests of the API have in common.

Owns: the base of the request models, and the kinds of fields that several have. Invariant: an unknown field is refused,
so that a typing mistake never runs with a default.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

MOST = 10**15
"""Of anything that is counted: beyond, Redis's scripts would no longer count exactly."""
Text = Annotated[str, Field(max_length=4096)]
"""With a limit, pydantic also refuses half of a surrogate pair, which JSON can spell and nothing can store."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""Letters, digits, full stops, underscores and hyphens."""


def example(**body: JsonValue) -> ConfigDict:
    """A whole request, for the documentation."""
    return ConfigDict(json_schema_extra={"examples": [body]})


class Request(BaseModel):
    """A request of the API."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
