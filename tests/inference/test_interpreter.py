from pathlib import Path

import pytest

from inference.interpreter import SGLANG_VERSION, cache_dir, sglang_python, sglang_venv, stamp_of
from scheduler.core.errors import InvalidInput


def test_the_cache_is_where_the_user_says_else_where_the_desktop_says_else_at_home(tmp_path: Path) -> None:
    assert cache_dir({"PILOTCOMMIT_CACHE": "/c", "XDG_CACHE_HOME": "/x"}) == Path("/c")
    assert cache_dir({"XDG_CACHE_HOME": "/x"}) == Path("/x/pilotcommit")
    assert cache_dir({}) == Path.home() / ".cache" / "pilotcommit"


def test_a_named_interpreter_wins(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch()
    assert sglang_python({"PILOTCOMMIT_SGLANG_PYTHON": str(python), "PILOTCOMMIT_CACHE": "/c"}) == python


def test_a_named_interpreter_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nowhere"):
        sglang_python({"PILOTCOMMIT_SGLANG_PYTHON": str(tmp_path / "nowhere")})


def test_an_installation_counts_only_when_it_is_complete(tmp_path: Path) -> None:
    environ = {"PILOTCOMMIT_CACHE": str(tmp_path)}
    venv = sglang_venv(environ)
    assert venv == tmp_path / f"venv-sglang-{SGLANG_VERSION}"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    with pytest.raises(InvalidInput, match="make setup-sglang"):
        sglang_python(environ)
    stamp_of(venv).touch()
    assert sglang_python(environ) == venv / "bin" / "python"
