"""What glibc does with memory that a step has freed.

Owns: that setting, and its one exception. Invariant: it is made before the first tensor is.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the allocator keep what a step freed for the next one; returns whether it could be told so.

    By default glibc maps every large tensor afresh and returns it afterwards, so that the kernel clears the same
    gigabytes page by page in every step. One arena, because those of threads hold nothing above 32 MiB. The settings
    are those of man 3 mallopt; other allocators have no such function.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, _NEVER), mallopt(_M_ARENA_MAX, 1)])


def give_back_freed_memory() -> bool:
    """Return to the system what is free now, which was needed once only; whether anything could be."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return malloc_trim is not None and bool(malloc_trim(0))
