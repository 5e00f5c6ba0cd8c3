"""Checkpoints: what was saved comes back bit for bit, and damage never goes unseen."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from minbert.encoder.config import EncoderConfig
from minbert.support import durable_files
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
from tests.hostile_files import HOSTILE_JSON, put

Groups = dict[str, dict[str, Tensor]]


def groups(value: float = 1.0) -> Groups:
    return {
        "model": {"weight": torch.full((3, 2), value), "bias": torch.randn(4)},
        "optimizer": {"0.exp_avg": torch.randn(3, dtype=torch.float64)},
        "objective": {},
    }


def facts(epochs: int = 0, best: int | None = None, **more: Any) -> dict[str, Any]:
    return {"epochs_scored": epochs, "best_epoch": best, **more}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


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


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


def _drop_from_manifest(folder: Path, name: str, *, value: object = None) -> None:
    """Change the manifest alone: `name` goes, or gets another value."""
    path = folder / "manifest.json"
    told = json.loads(path.read_text())
    del told["sha256"][name]
    if value is not None:
        told["sha256"][name] = value
    path.write_text(json.dumps(told))


def _forge_facts(folder: Path) -> None:
    """Other facts than were saved, which a manifest without them would let pass."""
    _drop_from_manifest(folder, "state.json")
    (folder / "state.json").write_text(json.dumps(facts(step=99)))


def _forget_group(folder: Path, name: str) -> None:
    """A group that neither the manifest nor the folder has."""
    _drop_from_manifest(folder, f"{name}.safetensors")
    (folder / f"{name}.safetensors").unlink()


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _make_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("no folder")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "weights": lambda folder: _flip(folder / "model.safetensors"),
    "manifest": lambda folder: (folder / "manifest.json").unlink(),
    "facts": lambda folder: (folder / "state.json").write_bytes(b"\x00" * 40),
    "facts gone": lambda folder: (folder / "state.json").unlink(),
    "facts not in the manifest": _forge_facts,
    "group not in the manifest": lambda f: _drop_from_manifest(f, "optimizer.safetensors"),
    "group nowhere": lambda folder: _forget_group(folder, "objective"),
    "hash of another kind": lambda f: _drop_from_manifest(f, "model.safetensors", value=[1]),
    "manifest a list": lambda folder: (folder / "manifest.json").write_text('{"sha256": []}'),
    "manifest nested": lambda folder: (folder / "manifest.json").write_text("[" * 10**5),
    "folder for a file": lambda folder: _make_folder(folder / "model.safetensors"),
    "folder for the manifest": lambda folder: _make_folder(folder / "manifest.json"),
    "file for the folder": _make_file,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_is_passed_over_and_named(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(2, groups(2), facts(step=2))
    store.save_step(4, groups(4), facts(step=4))
    DAMAGE[kind](tmp_path / "step-00000004-0000")
    with caplog.at_level("WARNING", logger="minbert"):
        loaded = CheckpointStore(tmp_path).load_last()
    assert loaded is not None
    assert loaded[1]["step"] == 2
    assert "step-00000004-0000" in caplog.text


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("steps", [(4, 6), (8, 10)], ids=["before it", "after it"])
def test_a_run_goes_on_past_a_damaged_checkpoint_with_two_whole_ones(
    tmp_path: Path, kind: str, steps: tuple[int, int]
) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(2, groups(2), facts(step=2))
    store.save_step(7, groups(7), facts(step=7))
    DAMAGE[kind](tmp_path / "step-00000007-0000")
    CheckpointStore(tmp_path).load_last()
    again = CheckpointStore(tmp_path)
    for step in steps:  # on from step 2
        again.save_step(step, groups(step), facts(step=step))
    whole = []
    for folder in tmp_path.glob("step-*"):
        with contextlib.suppress(DamagedCheckpoint):
            whole.append(checkpoint.load(folder)[1]["step"])
    assert sorted(whole) == list(steps)
    loaded = CheckpointStore(tmp_path).load_last()
    assert loaded is not None
    assert loaded[1]["step"] == steps[1]


def test_a_checkpoint_written_again_replaces_the_damaged_one(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(4, groups(4), facts(step=4))
    DAMAGE["weights"](tmp_path / "step-00000004-0000")
    store.save_step(4, groups(5), facts(step=4))
    loaded = store.load_last()
    assert loaded is not None
    assert float(loaded[0]["model"]["weight"][0, 0]) == 5


def test_all_damaged_is_as_none(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(4, groups(), facts())
    DAMAGE["weights"](tmp_path / "step-00000004-0000")
    assert store.load_last() is None


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
        _drop_from_manifest(tmp_path / name, "model.safetensors")
    else:
        harm(tmp_path / name)
    for _ in range(2):
        saved = CheckpointStore(tmp_path).load_last()
        assert saved is not None and saved[1]["step"] == 20
        assert all(map(same_tensors, store.load_best(1), (model, predictions)))
    store.finish(facts(1, best=1, step=20))
    assert {own for own in names(tmp_path) if "damaged" not in own} == {"finished", "best-0001"}
    assert all(map(same_tensors, store.load_best(1), (model, predictions)))


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


def test_a_best_model_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save_best(1, {"weight": torch.tensor([1.0])}, {})
    with pytest.raises(RunError, match="weight of the model"):
        store.save_best(1, {"weight": torch.tensor([float("nan")])}, {})
    assert float(store.load_best(1)[0]["weight"]) == 1


CANNOT_READ_NOW = {
    "disk": OSError(errno.EIO, "Input/output error"),
    "rights": PermissionError(errno.EACCES, "Permission denied"),
    "handles": OSError(errno.EMFILE, "Too many open files"),
    "server": OSError(errno.ESTALE, "Stale file handle"),
    "no memory to map": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "no memory": MemoryError("Cannot allocate memory (os error 12)"),
    "no memory for torch": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
}


@pytest.mark.parametrize("step", ["hash", "tensors", "list"])
@pytest.mark.parametrize("kind", CANNOT_READ_NOW)
def test_what_cannot_be_read_now_is_no_damage_and_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, step: str
) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(2, groups(), facts(step=2))
    store.save_step(4, groups(), facts(step=4))
    before = names(tmp_path)

    def fail(*_: object) -> None:
        raise CANNOT_READ_NOW[kind]

    owner, name = {
        "hash": (durable_files, "sha256_of"),
        "tensors": (checkpoint, "load_file"),
        "list": (Path, "iterdir"),
    }[step]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fail)
        with pytest.raises((RunError, type(CANNOT_READ_NOW[kind]))) as raised:
            store.load_last()
    assert step == "list" or "step-00000004-0000: cannot be read now" in str(raised.value)
    assert names(tmp_path) == before
    loaded = store.load_last()
    assert loaded is not None and loaded[1]["step"] == 4


@pytest.mark.parametrize("kind", ["file for the folder", "facts gone", "facts"])
def test_a_damaged_older_checkpoint_does_not_stop_the_next_saves(tmp_path: Path, kind: str) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(2, groups(), facts(step=2))
    store.save_step(4, groups(), facts(step=4))
    DAMAGE[kind](tmp_path / "step-00000002-0000")
    assert store.load_last() is not None
    store.save_step(3, groups(), facts(step=3))
    store.save_step(6, groups(), facts(step=6))
    store.save_best(1, {"weight": torch.tensor([1.0])}, {})
    store.finish(facts(1, best=1))
    assert names(tmp_path) == {"finished", "best-0001"}


@pytest.mark.parametrize("name", [checkpoint.MANIFEST, checkpoint.FACTS])
@pytest.mark.parametrize(
    "kind", [k for k in HOSTILE_JSON if k != "sparse"]
)  # its hash takes minutes
def test_hostile_json_is_damage(tmp_path: Path, name: str, kind: str) -> None:
    """The facts are reached only where the manifest has the hash of what stands there."""
    store = CheckpointStore(tmp_path)
    store.save_step(2, groups(), facts(step=2))
    store.save_step(4, groups(), facts(step=4))
    last = tmp_path / "step-00000004-0000"
    put(last / name, kind)
    if name == checkpoint.FACTS and (last / name).is_file():
        hashes = {file.name: durable_files.sha256_of(file) for file in sorted(last.iterdir())}
        del hashes[checkpoint.MANIFEST]
        (last / checkpoint.MANIFEST).write_text(json.dumps({"sha256": hashes}))
    loaded = store.load_last()
    assert loaded is not None and loaded[1]["step"] == 2
    assert names(tmp_path) == {"step-00000002-0000", "damaged-step-00000004-0000"}


@pytest.mark.parametrize("kind", HOSTILE_JSON)
def test_a_checkpoint_beside_a_hostile_one_is_saved(tmp_path: Path, kind: str) -> None:
    store = CheckpointStore(tmp_path)
    store.save_step(2, groups(), facts(step=2))
    put(tmp_path / "step-00000002-0000" / checkpoint.FACTS, kind)
    store.save_step(4, groups(), facts(step=4))
    loaded = store.load_last()
    assert loaded is not None and loaded[1]["step"] == 4
