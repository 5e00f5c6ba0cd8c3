"""Cells: the same result the same key, another result another key."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minbert.experiments.grid import cells
from minbert.experiments.grid.cell import LOG, launch
from minbert.experiments.grid.cells import Cell, code_hash, configuration, key_of, plan
from minbert.experiments.grid.experiment import GridRow, Scale
from minbert.support import device
from minbert.support.errors import InputError
from tests.experiments.grids import Place, experiment
from tests.helpers import write_course_files

SCALE = Scale(epochs=1, limit=None, seeds=1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


def key(place: Place, flags: str = "") -> str:
    cells._hash_of.cache_clear()
    return key_of(configuration(f"--option finetune {' '.join(place.extra)} {flags}"))


def test_what_decides_a_result_decides_the_key(place: Place) -> None:
    before = key(place)
    assert key(place) == before
    assert key(place, "--lr 1e-5") == before  # the default, spelled out
    assert key(place, "--output_dir x --resume --checkpoint_every 3 --track wandb") == before
    assert key(place, "--seed 1") != before
    assert key(place, "--smart") != before
    assert key(place, "--micro_batch_size auto") == before != key(place, "--micro_batch_size 2")
    assert len({before, *(key(place, flag) for flag in ("--device cpu", "--strict"))}) == 3
    write_course_files(place.root / "data", rows=20, seed=1)
    assert key(place) != before


def test_the_precision_that_is_used_decides_the_key(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(place)
    assert key(place, "--precision fp32") == before != key(place, "--precision bf16")
    monkeypatch.setattr(device, "multiplies_bf16", lambda: True)
    assert key(place) == before  # rows are compared, and not all of them may be bf16
    with monkeypatch.context() as there:
        there.setattr(torch.cuda, "is_available", lambda: True)
        there.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
        assert key(place) == key(place, "--precision bf16")
    assert configuration("--device cuda " + shlex.join(place.extra)).precision == "bf16"


def test_a_cells_command_names_the_precision_on_whatever_machine_it_runs(place: Place) -> None:
    grid = experiment(
        GridRow("plain", ("--option finetune",)),
        GridRow("low", ("--option finetune --precision bf16",)),
    )
    plain, low = plan(grid, SCALE, 1, place.extra)
    assert plain.command.endswith(" --precision fp32")
    assert low.command.count("--precision") == 1
    assert "bf16" in low.command


def test_files_may_lie_elsewhere(place: Place, tmp_path: Path) -> None:
    before = key(place)
    shutil.copytree(place.root, tmp_path / "copy")
    assert key(Place(tmp_path / "copy")) == before


def test_the_code_is_all_that_the_main_job_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    code_hash.cache_clear()
    monkeypatch.setattr(cells.durable_files, "sha256_of", lambda path: read.append(path) or "")
    code_hash()
    code_hash.cache_clear()
    names = {path.relative_to(cells._PACKAGE).as_posix() for path in read}
    assert {
        "finetune/cli.py",
        "training/loop.py",
        "encoder/attention.py",
        "support/flags.py",
    } <= names
    assert not any(name.startswith(("experiments", "sample", "pretrain/")) for name in names)


DEEP = (
    "encoder/attention.py",
    "encoder/unpadding.py",
    "regularizers/smart/adversarial.py",
    "tasks/losses.py",
)


@pytest.mark.parametrize("module", DEEP)
def test_an_edit_deep_below_the_main_job_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    package = tmp_path / "minbert"
    shutil.copytree(cells._PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = code_hash.__wrapped__()
    monkeypatch.setattr(cells, "_PACKAGE", package)
    assert code_hash.__wrapped__() == before  # wherever the package lies
    with (package / module).open("a", encoding="utf-8") as stream:
        stream.write("# an edit\n")
    assert code_hash.__wrapped__() != before


def test_an_edit_beside_the_main_job_changes_no_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "minbert"
    shutil.copytree(cells._PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = code_hash.__wrapped__()
    monkeypatch.setattr(cells, "_PACKAGE", package)
    seen = ("finetune/report/page.py", "reports/plotting.py")  # how a result looks is no part of it
    for name in ("experiments/grid/cells.py", "grade/gold.py", "pretrain/packing.py", *seen):
        (package / name).unlink()
    assert code_hash.__wrapped__() == before


def test_every_module_that_the_main_job_loads_is_in_the_code() -> None:
    """The imports of a fresh process, against those that are read from the files."""
    script = "import minbert.finetune.cli, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cells._PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name for name in json.loads(done.stdout) if name.startswith("minbert.")}
    files = {name: cells._PACKAGE.parent.joinpath(*name.split(".")) for name in loaded}
    modules = {name for name, path in files.items() if path.with_suffix(".py").is_file()}
    assert {"minbert.encoder.attention", "minbert.regularizers.smart.adversarial"} <= modules
    assert modules <= cells._modules("minbert.finetune.cli")


def test_a_cells_process_finds_the_package_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    cell = Cell("row", 1, "--no_such_flag", "key")
    assert launch(cell, tmp_path, threads=1).wait(timeout=300) == 2
    assert "--no_such_flag" in (cell.folder(tmp_path) / LOG).read_text()


def test_a_plan_has_every_row_with_every_seed(place: Place) -> None:
    rows = (
        GridRow("one", ("--option finetune", "--option pretrain"), cost=4),
        GridRow("two", ("--smart",)),
    )
    found = plan(experiment(*rows), SCALE, 2, place.extra)
    assert [(cell.row, cell.seed) for cell in found] == [
        (row, seed) for seed in (11711, 11712) for row in ("one", "one", "two")
    ]
    assert len({cell.key for cell in found}) == 6
    assert sum(cell.cost for cell in found) == 2 * (4 + 1)


def test_stdpp_keeps_twice_the_epochs() -> None:
    assert Scale(3, 10, 1).flags("--stdpp") == "--epochs 6 --limit 10"
    assert Scale(3, None, 1).flags("--smart") == "--epochs 3"


@pytest.mark.parametrize("flag", ["--seed", "--epochs=3", "--sst_dev_out", "--output_dir"])
def test_what_the_experiment_decides_is_not_given(place: Place, flag: str) -> None:
    with pytest.raises(InputError, match="decided by the experiment"):
        plan(experiment(GridRow("one", ("",))), SCALE, 1, [*place.extra, flag, "1"])


@pytest.mark.parametrize("own", ["--seed 1", "--limit=3", "--sts_test_out x", "--resume"])
def test_nor_does_a_row_decide_it(place: Place, own: str) -> None:
    with pytest.raises(InputError, match=f"row 'one': {own[:5]}.* decided by the experiment"):
        plan(experiment(GridRow("one", (own,))), SCALE, 1, place.extra)


@pytest.mark.parametrize("flag", [["--lr", "1"], ["--lr=1"]])
def test_a_rows_own_flag_is_not_overridden(place: Place, flag: list[str]) -> None:
    rows = (GridRow("one", ("",)), GridRow("two", ("--smart", "--lr 1e-3")))
    with pytest.raises(InputError, match="--lr: row 'two' has its own"):
        plan(experiment(*rows), SCALE, 1, [*place.extra, *flag])


def test_a_flag_that_all_rows_share_may_be_given_otherwise(place: Place) -> None:
    shared = replace(experiment(GridRow("one", ("",))), shared="--batch_size 64")
    (own,) = plan(shared, SCALE, 1, place.extra)
    (other,) = plan(shared, SCALE, 1, [*place.extra, "--batch_size=2"])
    assert "--batch_size 64" in own.command
    assert other.command.count("--batch_size") == 1


def test_rows_that_are_the_same_run_are_refused(place: Place) -> None:
    rows = (
        GridRow("one", ("--option finetune",)),
        GridRow("two", ("--option finetune --lr 1e-5",)),
    )
    with pytest.raises(InputError, match="'one' and 'two': differ in nothing"):
        plan(experiment(*rows), SCALE, 1, place.extra)


def test_a_rows_epochs_win_over_the_scales(place: Place) -> None:
    rows = tuple(GridRow(str(n), (f"--option finetune --epochs {n}",)) for n in (2, 3))
    found = plan(experiment(*rows), SCALE, 1, place.extra)
    assert [configuration(cell.command).epochs for cell in found] == [2, 3]


def test_stdpp_for_all_rows_doubles_the_epochs_too(place: Place) -> None:
    (cell,) = plan(experiment(GridRow("one", ("",))), SCALE, 1, [*place.extra, "--stdpp"])
    assert configuration(cell.command).epochs == 2


def test_a_wrong_row_is_found_before_anything_runs(place: Place) -> None:
    rows = (
        GridRow("one", ("--option finetune",)),
        GridRow("two", ("--option finetune --smart_eta 1",)),
    )
    with pytest.raises(InputError, match="would do nothing"):
        plan(experiment(*rows), SCALE, 1, place.extra)
