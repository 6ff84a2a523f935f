"""Bytes that are nearly right: what a broken or hostile peer sends."""

from collections.abc import Sequence

from hypothesis import strategies as st


@st.composite
def mutated(draw: st.DrawFn, originals: Sequence[bytes]) -> bytes:
    """One of the originals with some of its bytes changed, repeated or left out, or cut short."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 8))
        data[at : at + length] = draw(st.binary(max_size=8) | st.just(bytes(data[at : at + 4 * length])))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


def anything(originals: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Random bytes, or nearly right ones."""
    return st.binary(max_size=200) | mutated(originals)


NESTED_JSON = b"[" * 100_000
NESTED_MSGPACK = b"\x91" * 100_000
"""A list in a list in a list: what a recursive reader overflows its stack on."""
