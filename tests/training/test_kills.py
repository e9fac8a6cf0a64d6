"""A training that dies between two calls that change the disk continues bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_runs_that_died_in_a_call_go_on_as_if_they_had_not() -> None:
    """Some calls, the same ones each time; `python -m benchmarks.kills` tries all of them."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.kills",
            "--cases",
            "i-jepa",
            "rollback",
            "--sample",
            "8",
            "--twice",
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("killed at 8 of") == 2
