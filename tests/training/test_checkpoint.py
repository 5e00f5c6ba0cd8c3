"""What was saved in a checkpoint comes back bit for bit, and what is not finite is not saved."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.encoder.config import EncoderConfig
from minbert.support.errors import RunError
from minbert.training import checkpoint
from minbert.training.checkpoint import (
    CheckpointStore,
    DamagedCheckpoint,
    optimizer_tensors,
    restore_optimizer,
)
from minbert.training.optimizer import AdamW, parameter_groups
from tests.helpers import make_encoder, make_model, random_dataset, same_tensors, whole_batch
from tests.training.checkpoints import facts, groups, names


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "saved", groups(), {"step": 7, "seed": "é"})
    return tmp_path / "saved"


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    before = groups()
    before["model"]["odd"] = torch.tensor([3.4e38, -0.0, 1e-45])
    before["model"]["count"] = torch.tensor([2**62])
    before["model"]["strided"] = torch.arange(6.0).reshape(2, 3).T
    checkpoint.save(tmp_path / "saved", before, {"step": 7, "history": [{"a": 0.1}], "x": None})
    after, read = checkpoint.load(tmp_path / "saved")
    assert read == {"step": 7, "history": [{"a": 0.1}], "x": None}
    assert after.keys() == before.keys()
    for group, members in before.items():
        for name, tensor in members.items():
            loaded = after[group][name]
            assert loaded.dtype == tensor.dtype
            assert loaded.numpy().tobytes() == tensor.contiguous().numpy().tobytes()


def _offsets(size: int, count: int = 12) -> set[int]:
    return {round(i * (size - 1) / (count - 1)) for i in range(count)}


@pytest.mark.parametrize("change", [0x01, 0x20, 0xFF], ids=["low bit", "case", "all bits"])
def test_a_changed_byte_is_seen_wherever_it_is(saved: Path, change: int) -> None:
    tried = 0
    for file in saved.iterdir():
        whole = file.read_bytes()
        for offset in _offsets(len(whole)):
            damaged = bytearray(whole)
            damaged[offset] ^= change
            file.write_bytes(damaged)
            with pytest.raises(DamagedCheckpoint):
                checkpoint.load(saved)
            tried += 1
        file.write_bytes(whole)
    assert tried >= 40
    checkpoint.load(saved)


@pytest.mark.parametrize("cut", ["gone", "empty", "last byte", "one more byte"])
def test_a_file_missing_or_of_another_length_is_seen(saved: Path, cut: str) -> None:
    for file in list(saved.iterdir()):
        whole = file.read_bytes()
        if cut == "gone":
            file.unlink()
        else:
            file.write_bytes(
                {"empty": b"", "last byte": whole[:-2], "one more byte": whole + b"x"}[cut]
            )
        with pytest.raises(DamagedCheckpoint):
            checkpoint.load(saved)
        file.write_bytes(whole)
    with pytest.raises(DamagedCheckpoint):
        checkpoint.load(saved.with_name("absent"))


def test_a_save_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path / "saved", groups(), {"step": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_draft_left_by_a_killed_run_is_no_checkpoint_and_is_removed(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(3, groups(), facts())
    draft = tmp_path / ".step-00000006-0000.4711.tmp"
    (tmp_path / "step-00000003-0000").rename(draft)
    (tmp_path / "other.tmp").write_text("not ours")
    again = CheckpointStore(tmp_path)
    assert again.load_last() is None and draft.exists()  # who only reads may not be alone
    again.drop_drafts()
    assert names(tmp_path) == {"other.tmp"}


def test_the_newest_is_loaded_and_only_two_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    assert store.load_last() is None
    for step in (2, 4, 10, 100):
        store.save_step(step, groups(step), facts(step=step))
    loaded = CheckpointStore(tmp_path).load_last()
    assert loaded is not None
    assert loaded[1]["step"] == 100
    assert float(loaded[0]["model"]["weight"][0, 0]) == 100
    assert len(names(tmp_path)) == 2


def test_a_scored_epoch_is_newer_than_its_last_step(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(8, groups(), facts(epochs=0))
    store.save_step(8, groups(), facts(epochs=1))
    loaded = store.load_last()
    assert loaded is not None
    assert loaded[1]["epochs_scored"] == 1


def test_an_optimizer_goes_on_from_its_saved_state_as_if_never_stopped(
    tmp_path: Path, tiny: EncoderConfig
) -> None:
    shape = dataclasses.replace(tiny, num_hidden_layers=1)
    batches = {task: whole_batch(random_dataset(task, 4)) for task in ("sst", "para")}

    def make() -> tuple[Any, AdamW]:
        torch.manual_seed(3)
        model = make_model(make_encoder(shape))
        return model, AdamW(parameter_groups(model, 0.1), lr=1e-2)

    def train(model: Any, optimizer: AdamW, steps: range) -> None:
        for step in steps:
            batch = batches["sst" if step < 3 else "para"]  # para's head has no state at first
            optimizer.zero_grad()
            batch.task.loss(model(batch, mask_seed=step), batch.labels).backward()
            optimizer.step()

    straight, optimizer = make()
    train(straight, optimizer, range(6))

    first, optimizer = make()
    train(first, optimizer, range(3))
    tensors, numbers = optimizer_tensors(optimizer)
    checkpoint.save(
        tmp_path / "saved", {"model": first.state_dict(), "optimizer": tensors}, numbers
    )
    loaded, read = checkpoint.load(tmp_path / "saved")
    second, optimizer = make()
    second.load_state_dict(loaded["model"])
    restore_optimizer(optimizer, loaded["optimizer"], read)
    train(second, optimizer, range(3, 6))
    assert same_tensors(second.state_dict(), straight.state_dict())


def test_a_restored_optimizer_keeps_its_own_settings() -> None:
    def make(lr: float) -> AdamW:
        param = torch.nn.Parameter(torch.ones(2))
        param.grad = torch.ones(2)
        return AdamW([param], lr=lr)

    old, new = make(1.0), make(0.5)
    old.step()
    restore_optimizer(new, *optimizer_tensors(old))
    assert new.param_groups[0]["lr"] == 0.5
    (state,) = new.state.values()
    assert state["step"] == 1


def test_nothing_is_pickled(saved: Path) -> None:
    assert {path.suffix for path in saved.iterdir()} == {".safetensors", ".json"}
    hashes = json.loads((saved / "manifest.json").read_text())["sha256"]
    assert hashes.keys() == names(saved) - {"manifest.json"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("group", ["model", "optimizer", "objective"])
def test_a_value_that_is_not_finite_is_not_saved_and_the_one_before_stays(
    tmp_path: Path, group: str, value: float
) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(2, groups(), facts(step=2))
    spoiled = groups()
    spoiled[group]["spoiled"] = torch.zeros(5, 7)
    spoiled[group]["spoiled"][4, 6] = value
    for step in (2, 4):  # in its own place as well
        with pytest.raises(RunError, match=f"spoiled of the {group} is not finite.*--resume"):
            store.save_step(step, spoiled, facts(step=step))
    assert names(tmp_path) == {"step-00000002-0000"}
    loaded = store.load_last()
    assert loaded is not None and loaded[1]["step"] == 2
