"""What the processor of this machine computes natively.

Owns: that one question. Invariant: where it cannot tell, the answer is no. float32 is right everywhere; bfloat16 that
is emulated was measured to be four to eight times slower.
"""

from pathlib import Path

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""As Linux names them: on x86 (AVX-512, AMX), and on ARM."""


def has_native_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether matrix products of bfloat16 are the processor's own."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features")))
    return any(_BF16_FLAGS & set(names) for names in flags)
