"""The environment of a reward worker.

Owns: which of the scheduler's variables a reward may see. Invariant: only what is named here or by the operator is
passed on, so that a key under a name nobody thought of stays out.
"""

from collections.abc import Collection, Mapping

_SYSTEM = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_LIBRARIES = ("VIRTUAL_ENV", "XDG_CACHE_HOME", "NLTK_DATA", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE")
_PREFIXES = ("LC_", "PYTHON", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "COV_", "TOKENIZERS_")
"""Locale, interpreter, threads of numeric libraries."""


def harmless(environ: Mapping[str, str], also: Collection[str] = ()) -> Mapping[str, str]:
    """What a worker needs to start and to compute, and what the operator names in `also`."""
    names = {*_SYSTEM, *_LIBRARIES, *also}
    return {name: value for name, value in environ.items() if name in names or name.startswith(_PREFIXES)}
