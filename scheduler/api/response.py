"""What all answers of the API have in common.

Owns: the base of the response models. Never computes.
"""

from pydantic import BaseModel, ConfigDict


class Response(BaseModel):
    """An answer of the API."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
