"""A real window lives through what users do: napari's drawing has died of the second click on a well."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("window_of_many_results.py")


def test_a_window_lives_through_wells_points_and_results() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "lived through it" in done.stdout
