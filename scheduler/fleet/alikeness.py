"""Whether a server turns text into tokens, and tokens into log-probs, as the model of this fleet does.

Owns: the texts that are compared, and what is said of a difference. Never asks a server. Invariant: two tokenizers that
agree on every text have the same fingerprint.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

Tokens = tuple[tuple[int, ...], ...]

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "x² + 3·x ± 42 = 0, so x ≈ 5.17 or ±8.17\n\n\tdef f(n): return n if n < 2 else f(n - 1) + f(n - 2)",
    "Größe, naïve, Ελληνικά, русский, 中文字符, العربية, हिन्दी, 🦊🧮",
    "<|im_start|>user\nWhat is 17 * 23?<|im_end|>\n<s>[INST] <think>391</think> </s><|endoftext|>",
)
"""Words, mathematics and white space, scripts, and what chat templates mark: where tokenizers differ."""

_SAME_TYPE = {"half": "float16", "float": "float32"}
"""Other names by which SGLang can be launched with a number type."""


def fingerprint(tokens: Tokens) -> str:
    """A short hash of what a tokenizer makes of the texts."""
    return hashlib.sha256(json.dumps(tokens).encode()).hexdigest()[:12]


def tokenizer_difference(theirs: Tokens, ours: Tokens, folder: Path) -> str:
    """Empty if they are the same, else both fingerprints, where the two first part, and what to do."""
    if theirs == ours:
        return ""
    text, their_ids, our_ids = next(
        (text, one, other) for text, one, other in zip(TEXTS, theirs, ours, strict=True) if one != other
    )
    place = next((at for at, (one, other) in enumerate(zip(their_ids, our_ids, strict=False)) if one != other), None)
    place = min(len(their_ids), len(our_ids)) if place is None else place
    return (
        f"its tokenizer is another one: fingerprint {fingerprint(theirs)}, that of {folder} has {fingerprint(ours)}; "
        f"of {text[:24]!r} it makes {_around(their_ids, place)}, ours {_around(our_ids, place)}: "
        "launch it with --tokenizer-path naming the model's own, or set PILOTCOMMIT_MODEL to the model that it serves"
    )


def _around(ids: Sequence[int], place: int) -> str:
    shown = ", ".join(str(token) for token in ids[max(0, place - 1) : place + 3])
    return f"{len(ids)} tokens with [{shown}] from {max(0, place - 1)} on"


def dtype_difference(theirs: str, ours: str, quantization: str) -> str:
    """Empty if the server computes at least as finely as the model is written, else both and what to do.

    A wider type than the model's loses nothing; log-probs of a narrower or quantised one are not the policy's own.
    """
    if quantization:
        return f"it quantises its weights ({quantization}), the model is written in {ours or 'full'}: log-probs differ"
    theirs = _SAME_TYPE.get(theirs, theirs)
    if not theirs or not ours or theirs in ("auto", "float32", ours):
        return ""
    return (
        f"it computes in {theirs}, the model is written in {ours}: log-probs differ from the learner's; "
        f"launch it with --dtype {ours}, or let the learner compute in {theirs} as well"
    )
