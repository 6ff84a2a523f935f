"""What the API is sent about pools.

Owns: the request models of pools.
"""

from pydantic import Field

from scheduler.api.request import Name, Request, Text, example


class NewPool(Request):
    """A pool to create."""

    model_config = example(name="arithmetic", tokenizer="/models/SmolLM2-135M-Instruct", reward="exact")

    name: Name = Field(examples=["arithmetic"])
    """Names the pool for ever: letters, digits, . _ and -."""
    tokenizer: Text = Field(min_length=1, examples=["/models/SmolLM2-135M-Instruct"])
    """Folder with the tokenizer and config.json of the model the prompts are for."""
    reward: Text = Field(examples=["exact"])
    """exact, numeric, regex, regex:PATTERN, math, reasoning_gym, python:module:function, or the https:// address of a
    reward server."""
    max_prompt_tokens: int | None = None
    """Longest prompt the pool takes; by default what the model's context allows."""
