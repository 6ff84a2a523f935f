"""Stands in for SGLang's kernels, which are not built for this CPU.

SGLang's CPU engine imports names from here when it is loaded; one rank with `torch_native` attention never calls them.
Whatever is called raises: nothing is faked.
"""

from collections.abc import Callable
from typing import NoReturn


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Give every name that is imported a function that raises NotImplementedError."""
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*_args: object, **_kwargs: object) -> NoReturn:
        raise NotImplementedError(f"sgl_kernel.{name} does not exist on this machine: only its name was ever needed")

    missing.__name__ = name
    return missing
