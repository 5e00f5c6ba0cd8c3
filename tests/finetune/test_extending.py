"""A regularizer is a file and a name in a registry, and so is a task: nothing else must change.

Each test copies the package, adds such a file to the copy, and runs the commands from there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minbert.encoder.config import EncoderConfig
from tests.helpers import ROOT, save_encoder, write_course_files

POOLED_L2 = '''
"""An L2 penalty on the pooled vectors."""

from dataclasses import dataclass

from minbert.regularizers.base import Regularizer
from minbert.regularizers.method import Method
from minbert.support.flags import POSITIVE, When, flag

GROUP = "the pooled vectors' length"


class PooledL2(Regularizer):
    name = "pooled_l2"

    def __init__(self, weight):
        self.weight = weight

    def loss(self, model, batch, clean):
        return model.pool(batch.tokens, clean.embeddings).square().mean()


@dataclass(frozen=True)
class PooledL2Flags:
    pooled_l2: bool = flag(False, GROUP, "keep the pooled vectors short")
    pooled_l2_weight: float = flag(
        0.5,
        GROUP,
        "weight of the penalty",
        limit=POSITIVE,
        metavar="W",
        acts=[When(lambda config: config.pooled_l2, "--pooled_l2")],
    )


POOLED_L2 = Method(
    PooledL2Flags, ("pooled_l2",), terms=lambda config, model: [PooledL2(config.pooled_l2_weight)]
)
'''


class Copy:
    """A copy of the package and of the course's entry point, with a tiny encoder and data."""

    def __init__(self, folder: Path, tiny: EncoderConfig) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "minbert", folder / "minbert")
        shutil.copy(ROOT / "multitask_classifier.py", folder)
        save_encoder(folder / "encoder", tiny)
        write_course_files(folder / "data")

    def register(self, registry: str, list_begins: str, module: str, name: str) -> None:
        """Import `name` from `module` in a registry and put it at the front of its list."""
        path = self.folder / "minbert" / registry
        text = path.read_text()
        assert list_begins in text
        text = text.replace(list_begins, f"{list_begins}{name}, ")
        first_import = text.index("\nfrom ")
        path.write_text(f"{text[:first_import]}\nfrom {module} import {name}{text[first_import:]}")

    def run(self, *argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments in the copy, and expect this exit code."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done


@pytest.fixture
def copied(tmp_path: Path, tiny: EncoderConfig) -> Copy:
    return Copy(tmp_path / "copy", tiny)


JOB = ("multitask_classifier.py", "--option", "finetune", "--weights", "encoder")


def test_a_regularizer_is_a_file_and_a_name(copied: Copy) -> None:
    (copied.folder / "minbert" / "regularizers" / "pooled_l2.py").write_text(POOLED_L2)
    copied.register(
        "regularizers/registry.py",
        "METHODS: tuple[Method, ...] = (",
        "minbert.regularizers.pooled_l2",
        "POOLED_L2",
    )
    assert "keep the pooled vectors short" in copied.run(JOB[0], "--help").stdout
    refused = copied.run(*JOB, "--pooled_l2_weight", "2", code=2).stderr
    assert "--pooled_l2_weight would do nothing here: it needs --pooled_l2" in refused
    limited = copied.run(*JOB, "--pooled_l2", "--pooled_l2_weight", "-1", code=2).stderr
    assert "--pooled_l2_weight -1.0: must be above 0" in limited
    clash = copied.run(*JOB, "--pooled_l2", "--freelb", code=2).stderr
    assert "--freelb --pooled_l2: FreeLB takes the place" in clash
    copied.run(*JOB, "--pooled_l2", "--max_steps", "2", "--output_dir", "run")
    log = (copied.folder / "run" / "log.jsonl").read_text()
    for row in map(json.loads, log.splitlines()):
        assert row["loss"] == pytest.approx(row["task_loss"] + 0.5 * row["pooled_l2"], rel=1e-5)
