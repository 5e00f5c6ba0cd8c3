"""A regularizer is a file and a name in a registry, and so is a task: nothing else must change.

Each test copies the package, adds such a file to the copy, and runs the commands from there.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from minbert.encoder.config import EncoderConfig
from tests.helpers import ROOT, save_encoder, write_course_files

POOLED_L2 = '''
"""An L2 penalty on the pooled vectors."""

from dataclasses import dataclass

from minbert.regularizers.base import Regularizer
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.method import Method
from minbert.support.flags import POSITIVE, When, flag

GROUP = "the pooled vectors' length"


class PooledL2(Regularizer):
    name = "pooled_l2"

    def __init__(self, weight):
        self.weight = weight

    def loss(self, model, batch, training):
        vectors = model.pooled(batch, training.embeddings, mask_seed=training.seed)
        return vectors.square().mean()


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


class HalfLoss(FreeLB):
    """An objective in the place of the loss."""


@dataclass(frozen=True)
class HalfFlags:
    half: bool = flag(False, GROUP, "half of the loss")


HALF = Method(HalfFlags, ("half",), objective=lambda config: HalfLoss(steps=1))
POOLED_L2 = Method(
    PooledL2Flags, ("pooled_l2",), terms=lambda config, model: [PooledL2(config.pooled_l2_weight)]
)
'''


def work_in(folder: Path, commands: Sequence[tuple[str, ...]]) -> None:
    """Run commands of the package in `folder`, and of no other; leave what they say in a file."""
    os.chdir(folder)
    torch.set_num_threads(1)
    for name in [name for name in sys.modules if name.partition(".")[0] == "minbert"]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    grids = importlib.import_module("minbert.experiments.faults.grids")
    grids.fork_cells(SimpleNamespace(enter=lambda _cell: None))
    results = []
    for module, *argv in commands:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = importlib.import_module(f"minbert.{module}").main(argv)
            except SystemExit as ended:  # --help
                code = ended.code or 0
        results.append((code, out.getvalue(), err.getvalue()))
    assert Path(sys.modules["minbert"].__file__ or "").parent == folder / "minbert"
    Path("said.json").write_text(json.dumps(results))


class Run(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


class Copy:
    """A copy of the package and of the course's entry point, with a tiny encoder and data."""

    def __init__(self, folder: Path, tiny: EncoderConfig, forking: ForkServerContext) -> None:
        self.folder, self.forking = folder, forking
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

    def run(self, *commands: tuple[str, ...]) -> list[Run]:
        """Run commands in the copy, one after the other in one process: a module and its flags."""
        process = self.forking.Process(target=work_in, args=(self.folder, commands))
        process.start()
        process.join()
        assert process.exitcode == 0
        return [Run(*each) for each in json.loads((self.folder / "said.json").read_text())]


@pytest.fixture
def copied(tmp_path: Path, tiny: EncoderConfig, forking: ForkServerContext) -> Copy:
    return Copy(tmp_path / "copy", tiny, forking)


MAIN = "finetune.cli"
JOB = (MAIN, "--option", "finetune", "--weights", "encoder")


def test_a_regularizer_is_a_file_and_a_name(copied: Copy) -> None:
    (copied.folder / "minbert" / "regularizers" / "pooled_l2.py").write_text(POOLED_L2)
    copied.register(
        "regularizers/registry.py",
        "METHODS: tuple[Method, ...] = (",
        "minbert.regularizers.pooled_l2",
        "POOLED_L2, HALF",
    )
    listed, alone, idle, limited, clash, done = copied.run(
        (MAIN, "--help"),
        (*JOB, "--half", "--pooled_l2"),
        (*JOB, "--pooled_l2_weight", "2"),
        (*JOB, "--pooled_l2", "--pooled_l2_weight", "-1"),
        (*JOB, "--pooled_l2", "--freelb"),
        (*JOB, "--pooled_l2", "--max_steps", "2", "--output_dir", "run"),
    )
    assert "keep the pooled vectors short" in listed.out
    assert [run.code for run in (alone, idle, limited, clash, done)] == [2, 2, 2, 2, 0], done.err
    assert "--half --pooled_l2: --half takes the place" in alone.err
    assert "--pooled_l2_weight would do nothing here: it needs --pooled_l2" in idle.err
    assert "--pooled_l2_weight -1.0: must be above 0" in limited.err
    assert "--freelb --pooled_l2: --freelb takes the place" in clash.err
    log = (copied.folder / "run" / "log.jsonl").read_text()
    for row in map(json.loads, log.splitlines()):
        assert row["loss"] == pytest.approx(row["task_loss"] + 0.5 * row["pooled_l2"], rel=1e-5)


NLI = '''
"""Three-way inference over pairs, with two dev files and two scores."""

from minbert.tasks import heads, losses
from minbert.tasks.labels import class_label, largest
from minbert.tasks.metrics import ACCURACY, Metric
from minbert.tasks.task import Task

NLI = Task(
    name="nli",
    title="Inference",
    subject="inference",
    files={
        "train": "nli-train.tsv",
        "dev": "nli-dev.tsv",
        "dev_other": "nli-dev-other.tsv",
        "test": "nli-test.tsv",
    },
    text_columns=("premise", "hypothesis"),
    label_column="label",
    parse_label=class_label(3),
    num_outputs=3,
    loss=losses.cross_entropy,
    divergence=losses.symmetric_kl,
    decode=largest,
    metrics=(ACCURACY, Metric("errors", lambda guesses, labels: float((guesses != labels).mean()))),
    prediction_column="Predicted_Label",
    quotes=False,
    pair_head=lambda hidden_size: heads.DifferenceHead(hidden_size, 3),
    relational=True,
    other_names=("inference",),
)
'''


def write_nli_files(folder: Path) -> None:
    """Sixteen pairs a file; a quotation mark in a text means nothing."""
    for name in ("nli-train", "nli-dev", "nli-dev-other", "nli-test"):
        rows = [
            f'{name}-{row}\tthe film was "very good\ta man {"sings " * row}\t{row % 3}'
            for row in range(16)
        ]
        text = "\n".join(["id\tpremise\thypothesis\tlabel", *rows])
        (folder / f"{name}.tsv").write_text(f"{text}\n")


def test_a_task_is_an_entry_and_a_name(copied: Copy) -> None:
    (copied.folder / "minbert" / "tasks" / "inference.py").write_text(NLI)
    tasks = "TASKS: Mapping[str, Task] = {task.name: task for task in ("
    copied.register("tasks/registry.py", tasks, "minbert.tasks.inference", "NLI")
    write_nli_files(copied.folder / "data")
    short = ("--epochs", "1", "--batch_size", "8", "--max_length", "24")
    both = ("--tasks", "nli,sst", "--rrobin", "--rlayer", "--smart", *short)
    alone = (*JOB, "--tasks", "nli", "--freelb", *short)
    numbers = ("--freelb_init", "nli=0.1", "--freelb_radius", "nli=0.5")
    grid = ("ablate", "--over", "rlayer", "--scale", "smoke", "--seeds", "1", "--epochs", "1")
    job = ("--tasks", "nli", "--weights", "encoder", "--max_length", "24")
    listed, trained, graded, refused, freelb, reported = copied.run(
        (MAIN, "--help"),
        (*JOB, *both, "--output_dir", "run"),
        ("grade.__main__", "--gold", "data", "predictions"),
        alone,
        (*alone, *numbers, "--max_steps", "2", "--output_dir", "freelb"),
        ("experiments.__main__", *grid, "--out", "grid", "--", *job),
    )
    assert "--nli_dev_other FILE" in listed.out and "--nli_dev_other_out FILE" in listed.out

    assert trained.code == 0, trained.err
    assert re.search(r"nli +accuracy +\d\.\d+", trained.out)
    assert re.search(r"errors +\d\.\d+ .* on dev_other", trained.out)
    manifest = json.loads((copied.folder / "run" / "manifest.json").read_text())
    scores = manifest["metrics"]["nli"]
    assert scores.keys() == {"dev", "dev_other"}
    for values in scores.values():
        assert values["accuracy"] + values["errors"] == pytest.approx(1)
    assert manifest["dev"]["nli"] == scores["dev"]["accuracy"]
    for split in ("dev", "dev_other", "test"):
        path = copied.folder / "predictions" / f"finetune-nli-{split}-out.csv"
        lines = path.read_text().splitlines()
        assert lines[0] == "id \t Predicted_Label " and len(lines) == 17

    # whatever the code: what a few steps have taught may be one class for all, a named defect
    accuracy = f"{scores['dev']['accuracy']:.3f}".lstrip("0")
    assert re.search(rf"nli accuracy +{re.escape(accuracy)}", graded.out)

    assert (refused.code, freelb.code) == (2, 0), freelb.err
    missing = "--freelb: nli has no published number; give --freelb_init nli=NUMBER"
    assert missing in refused.err

    assert reported.code == 0, reported.err
    (page,) = (copied.folder / "grid").glob("*.html")
    assert "Inference accuracy" in page.read_text()
