"""The best model is kept as long as a checkpoint relies on it, and a copy stands in for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from minbert.support.errors import RunError
from minbert.training.checkpoint import CheckpointStore, DamagedCheckpoint
from tests.helpers import same_tensors
from tests.training.checkpoints import DAMAGE, drop_from_manifest, facts, groups, names


def test_a_best_model_lives_as_long_as_a_checkpoint_relies_on_it(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save_best(1, {"weight": torch.tensor([1.0])}, {})
    store.save_step(10, groups(), facts(1, best=1))
    store.save_best(2, {"weight": torch.tensor([2.0])}, {})
    store.save_step(20, groups(), facts(2, best=2))
    assert {"best-0001", "best-0002"} <= names(tmp_path)  # the checkpoint at 10 needs the first
    assert float(store.load_best(1)[0]["weight"]) == 1
    store.save_step(30, groups(), facts(3, best=2))
    assert "best-0001" not in names(tmp_path)
    assert float(store.load_best(2)[0]["weight"]) == 2
    DAMAGE["weights"](tmp_path / "best-0002")
    with pytest.raises(DamagedCheckpoint):
        store.load_best(2)


def test_a_best_model_of_a_killed_run_is_written_anew(tmp_path: Path) -> None:
    CheckpointStore(tmp_path).save_best(1, {"weight": torch.tensor([1.0])}, {})
    store = CheckpointStore(tmp_path)
    store.save_best(1, {"weight": torch.tensor([3.0])}, {})
    assert float(store.load_best(1)[0]["weight"]) == 3


def test_a_finished_run_keeps_its_facts_and_its_best_model_only(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for epoch in (1, 2, 3):
        store.save_best(epoch, {"weight": torch.tensor([float(epoch)])}, {})
        store.save_step(epoch * 10, groups(), facts(epoch, best=min(epoch, 2)))
    (tmp_path / "log.jsonl").write_text("{}\n")
    store.finish(facts(3, best=2, step=30))
    assert names(tmp_path) == {"finished", "best-0002", "log.jsonl"}
    loaded = CheckpointStore(tmp_path).load_last()
    assert loaded is not None
    assert loaded[0] == {}
    assert loaded[1]["step"] == 30
    store.finish(facts(3, best=2, step=30))  # a finished run may finish again
    assert names(tmp_path) == {"finished", "best-0002", "log.jsonl"}


@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_a_checkpoint_is_whole_only_with_its_best_model(tmp_path: Path, harm: str) -> None:
    store = CheckpointStore(tmp_path)
    store.save_best(1, {"weight": torch.tensor([1.0])}, {})
    store.save_step(10, groups(), facts(1, best=1))
    store.save_best(2, {"weight": torch.tensor([2.0])}, {})
    store.save_step(20, groups(), facts(2, best=2))
    for name in ("best-0002", "best-0002-copy"):
        if harm == "damaged":
            DAMAGE["weights"](tmp_path / name)
        else:
            shutil.rmtree(tmp_path / name)
    saved = CheckpointStore(tmp_path).load_last()
    assert saved is not None
    assert saved[1]["best_epoch"] == 1
    assert float(store.load_best(1)[0]["weight"]) == 1


@pytest.mark.parametrize("kind", [*DAMAGE, "gone"])
@pytest.mark.parametrize("name", ["best-0001", "best-0001-copy"])
def test_one_damaged_best_model_costs_no_step(tmp_path: Path, kind: str, name: str) -> None:
    store = CheckpointStore(tmp_path)
    model, predictions = {"weight": torch.tensor([1.5])}, {"sst": torch.tensor([2.0])}
    store.save_best(1, model, predictions)
    for step in (10, 20):
        store.save_step(step, groups(step), facts(1, best=1, step=step))
    harm = shutil.rmtree if kind == "gone" else DAMAGE[kind]
    if kind in ("group not in the manifest", "group nowhere"):
        drop_from_manifest(tmp_path / name, "model.safetensors")
    else:
        harm(tmp_path / name)
    for _ in range(2):
        saved = CheckpointStore(tmp_path).load_last()
        assert saved is not None and saved[1]["step"] == 20
        assert all(map(same_tensors, store.load_best(1), (model, predictions)))
    store.finish(facts(1, best=1, step=20))
    assert {own for own in names(tmp_path) if "damaged" not in own} == {"finished", "best-0001"}
    assert all(map(same_tensors, store.load_best(1), (model, predictions)))


def test_a_best_model_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save_best(1, {"weight": torch.tensor([1.0])}, {})
    with pytest.raises(RunError, match="weight of the model"):
        store.save_best(1, {"weight": torch.tensor([float("nan")])}, {})
    assert float(store.load_best(1)[0]["weight"]) == 1
