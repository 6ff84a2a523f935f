"""Names near a mistyped one.

Owns: what counts as near. Pure. Invariant: the nearest come first, and never more than a few.
"""

import difflib
from collections.abc import Sequence

_MOST = 3
_LEAST_SIMILAR = 0.6


def near(name: str, names: Sequence[str]) -> list[str]:
    """Up to three of `names` that `name` may have meant, without regard to case."""
    folded: dict[str, str] = {}
    for known in names:
        folded.setdefault(known.casefold(), known)
    found = difflib.get_close_matches(name.casefold(), folded, n=_MOST, cutoff=_LEAST_SIMILAR)
    return [folded[match] for match in found]
