"""The wait of threads for each other, which is settled before torch is imported."""

import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

_SAY = "import sys, minbert, os; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(chosen: str | None) -> None:
    """It is settled before torch is imported, since OpenMP reads it only then."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if chosen:
        environment["OMP_WAIT_POLICY"] = chosen
    done = subprocess.run(
        [sys.executable, "-c", _SAY], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", chosen or "PASSIVE"]
