"""The process says at once, and with its own exit code, that its settings are wrong."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        ([], {}, "run_id"),
        (["--run-id", "r", "--model-path", "m", "--work-dir", "w", "--sped", "1"], {}, "--sped"),
        (["--run-id", "r", "--model-path", "m", "--work-dir", "w"], {"PILOTCOMMIT_FAULT": "x"}, "PILOTCOMMIT_FAULT"),
        (["--run-id", "r"], {"PILOTCOMMIT_LEARNER_SPEED": "1"}, "PILOTCOMMIT_LEARNER_SPEED"),
    ],
)
def test_wrong_settings_end_the_process_with_code_2_before_torch_is_loaded(
    flags: list[str], environ: dict[str, str], message: str
) -> None:
    program = (
        "import sys; from learner.main import main; code = main(); sys.exit(99 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *flags],
        env={"PATH": "", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
