"""A finished run is whole by itself, and what is not one is refused in a line that helps."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert.finetune.trained import finished_runs, keep_encoder_files, read_run
from minbert.support import durable_files
from minbert.support.errors import InputError
from tests.helpers import VOCAB, finished_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose encoder and data are gone."""
    folder = tmp_path_factory.mktemp("trained")
    run = finished_run(folder, pooling="mean", max_length=12)
    for name in ("encoder", "data", "predictions"):
        shutil.rmtree(folder / name)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def change(run: Path, **changes: object) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    for name, value in changes.items():
        (manifest if name in manifest else manifest["config"])[name] = value
    (run / "manifest.json").write_text(json.dumps(manifest))


def test_a_run_gives_back_its_settings_weights_and_tokenizer(trained: Path) -> None:
    found = read_run(trained)
    assert found.config.evaluated_tasks == ("sst", "para", "sts")
    assert (found.config.pooling, found.tokenizer.max_length) == ("mean", 12)
    assert list(found.tokenizer.vocab) == list(VOCAB)
    (file,) = trained.glob("best-*/model.safetensors")
    saved = load_file(file)
    own = found.model.state_dict()
    assert own.keys() == saved.keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in saved.items())
    assert not found.model.training


def test_its_files_of_the_encoder_are_those_whose_hashes_the_manifest_has(trained: Path) -> None:
    hashes = json.loads((trained / "manifest.json").read_text())["sha256"]
    kept = {path.name: durable_files.sha256_of(path) for path in (trained / "encoder").iterdir()}
    assert kept.keys() == {"config.json", "vocab.txt"}
    assert kept.items() <= hashes.items()


def test_an_encoder_that_changes_while_a_run_begins_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json: was changed while the run began"):
        keep_encoder_files(tmp_path / "run", tmp_path, {"config.json": "0" * 64})
    assert not (tmp_path / "run").exists()


def test_a_manifest_stands_for_its_run(trained: Path) -> None:
    assert read_run(trained / "manifest.json").folder == trained


def test_a_resumed_run_gets_what_an_older_version_has_not_kept(tmp_path: Path) -> None:
    run = finished_run(tmp_path, tasks=("sst",))
    before = {path.name: path.read_bytes() for path in (run / "encoder").iterdir()}
    shutil.rmtree(run / "encoder")
    finished_run(tmp_path, tasks=("sst",), resume=True)
    assert {path.name: path.read_bytes() for path in (run / "encoder").iterdir()} == before
    read_run(run)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (shutil.rmtree, "run: no such run; train one with: python multitask_classifier.py"),
    "no run": (lambda run: (run / "manifest.json").unlink(), "no run's folder"),
    "not finished": (
        lambda run: change(run, status="stopped by SIGINT"),
        r"has not finished \(stopped by SIGINT\); its command with --resume goes on",
    ),
    "no manifest at all": (lambda run: (run / "manifest.json").write_text("[]"), "JSON object"),
    "a pretraining": (lambda run: change(run, config={"layers": 2}), "no run of the main job"),
    "a cell of a grid": (
        lambda run: [shutil.rmtree(path) for path in run.iterdir() if path.is_dir()],
        "run: a run without weights, as the cells of a grid are.*--like",
    ),
    "older": (
        lambda run: shutil.rmtree(run / "encoder"),
        r"lacks config.json and vocab.txt in encoder/.*--resume, or copy",
    ),
    "no vocabulary": (lambda run: (run / "encoder" / "vocab.txt").unlink(), "lacks vocab.txt in"),
    "another tokenizer": (
        lambda run: flip_a_byte(run / "encoder" / "vocab.txt"),
        "vocab.txt: is not the file that the run was trained with",
    ),
    "damaged weights": (
        lambda run: flip_a_byte(next(run.glob("best-*/model.safetensors"))),
        "its SHA-256 is not the manifest's; train it again with --like",
    ),
    "other settings": (lambda run: change(run, rlayer=True), "weights do not fit its settings"),
    "no settings": (lambda run: change(run, config=None), "no run of the main job"),
    "settings of other types": (
        lambda run: change(run, hidden_dropout_prob="x"),
        "its settings are none",
    ),
    "unknown task": (lambda run: change(run, tasks=["x", "y"]), "--tasks x: no such task"),
    "no best epoch": (lambda run: change(run, best_epoch="1"), "names no best epoch"),
    "another best epoch": (lambda run: change(run, best_epoch=7), "best-0007"),
    "no hashes": (lambda run: change(run, sha256=[]), "lacks config.json and vocab.txt"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_no_whole_run_is_refused_in_one_line(run: Path, name: str) -> None:
    spoil, words = SPOILED[name]
    spoil(run)
    with pytest.raises(InputError, match=words) as refused:
        read_run(run)
    assert "\n" not in str(refused.value)


def test_a_setting_of_another_version_is_passed_over_and_named(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"]["of_another_version"] = 3
    (run / "manifest.json").write_text(json.dumps(manifest))
    read_run(run)
    assert "passed over, as unknown: of_another_version" in caplog.text


def test_runs_are_found_for_a_user_who_names_none(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "cell"))
    shutil.rmtree(next(other.glob("best-*")))
    assert finished_runs(tmp_path) == [run]
    assert finished_runs(tmp_path / "nowhere") == []


def test_a_folder_whose_name_takes_no_tensors_is_named_as_such(run: Path, tmp_path: Path) -> None:
    moved = run.rename(tmp_path / os.fsdecode(b"run-\xff"))
    with pytest.raises(InputError, match="its name is no UTF-8"):
        read_run(moved)
