"""What a processor says of itself."""

from pathlib import Path

import pytest

from scheduler.processor import has_native_bf16


@pytest.mark.parametrize(
    ("line", "native"),
    [
        ("flags\t\t: fpu sse2 avx2 avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu avx512f amx_bf16", True),
        ("Features\t: fp asimd sve bf16 i8mm", True),
        ("flags\t\t: fpu sse2 avx2 fma", False),
        ("model name\t: one with bf16 in its name", False),
        ("", False),
    ],
)
def test_bfloat16_is_native_only_where_the_processor_lists_it(tmp_path: Path, line: str, native: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: some\n{line}\n\nprocessor\t: 1\n")
    assert has_native_bf16(cpuinfo) is native


def test_a_machine_that_does_not_say_is_taken_to_have_none(tmp_path: Path) -> None:
    assert not has_native_bf16(tmp_path / "missing")
