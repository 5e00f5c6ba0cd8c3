"""The pretraining command under torchrun itself, as its users type it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.pretrain.running import SHAPE, SMALL
from tests.pretrain.running import run as pretrain
from tests.pretrain.stopping import assert_same_run

# one core for both: as many threads as `--ranks 2` has here, and so the same bytes
ON_ONE_CORE = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from torch.distributed.run import main
main(sys.argv[1:])
"""
TOGETHER = ("--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0")
JOB = ("--text", "text.txt", "--vocab", "vocab", *SHAPE, *SMALL, "--steps", "5")


@pytest.mark.slow
def test_two_workers_of_torchrun_end_in_the_bytes_of_two_ranks(
    place: Path,
) -> None:
    assert pretrain("--steps", "5", "--ranks", "2", "--output_dir", "whole") == 0
    done = subprocess.run(
        [sys.executable, "-c", ON_ONE_CORE, *TOGETHER, "-m", "minbert.pretrain", *JOB],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("encoder written to out/encoder") == 1
    assert_same_run()
