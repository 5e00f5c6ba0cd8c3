"""A damaged checkpoint is named and passed over; one that cannot be read now stays as it is."""

from __future__ import annotations

import contextlib
import errno
import json
from pathlib import Path

import pytest
import torch

from minbert.support import durable_files
from minbert.support.errors import RunError
from minbert.training import checkpoint
from minbert.training.checkpoint import CheckpointStore, DamagedCheckpoint
from tests.hostile_files import HOSTILE_JSON, put
from tests.training.checkpoints import DAMAGE, facts, groups, names


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
