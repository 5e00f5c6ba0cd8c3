"""A cell's process: what it publishes and tidies, and what it leaves to one that took over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minbert.experiments.grid import cell as module
from minbert.experiments.grid.cell import run_cell
from minbert.experiments.grid.cells import CLAIMS, DEV, RESULT, RUN, Cell
from minbert.finetune.job import Result
from minbert.support import durable_files
from minbert.support.claims import Claim, ClaimLost, take
from minbert.support.signals import StopRequest
from minbert.tasks.task import Array

CELL = Cell("row", 1, "", "key")


@dataclass
class Home:
    """A cell's folder with the weights of its run, and the claim on it."""

    folder: Path
    claim: Claim

    @classmethod
    def make(cls, out: Path) -> Home:
        folder = CELL.folder(out)
        for name in ("step-0001", "best-0001"):
            (folder / RUN / name).mkdir(parents=True)
        claim = take(folder / CLAIMS)
        assert claim is not None
        return cls(folder, claim)

    def publish(self) -> None:
        result = Result(self.folder / RUN, {"sst": 0.5}, {"status": "finished"})
        module._publish(CELL, self.folder, self.claim, result)

    def weights(self) -> list[str]:
        return sorted(entry.name for entry in module.leftovers(self.folder))

    def lose(self) -> None:
        """As if this process had been paused: another takes over, and is about to publish."""
        self.claim.give_back()
        assert take(self.folder / CLAIMS) is not None
        (self.folder / DEV).write_text("theirs")


@dataclass
class Finished:
    """A run of four dev examples; something may happen when its labels are asked for."""

    meanwhile: Callable[[], None] = lambda: None
    predictions: dict[str, Array] = field(default_factory=lambda: {"sst": np.arange(4.0)})

    def split(self, _task: str) -> SimpleNamespace:
        return SimpleNamespace(examples=[SimpleNamespace(id=f"id{n}") for n in range(4)])

    def labels(self, _task: str) -> Array:
        self.meanwhile()
        return np.ones(4)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.make(tmp_path)


def finish(monkeypatch: pytest.MonkeyPatch, run: Finished) -> None:
    monkeypatch.setattr(module, "FinishedRun", SimpleNamespace(read=lambda _: run))


def bring(out: Path) -> bool:
    return run_cell(CELL, out, os.getppid(), StopRequest())


def test_what_is_published_has_the_hash_of_its_predictions(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(monkeypatch, Finished())
    home.publish()
    record = json.loads((home.folder / RESULT).read_text())
    assert record["sha256"] == durable_files.sha256_of(home.folder / DEV)
    with np.load(home.folder / DEV) as dev:
        assert dev["sst_predictions"].tolist() == [0, 1, 2, 3]


def test_who_has_lost_its_claim_reads_no_run(home: Home) -> None:
    """The new holder is changing it: what is found there is no fault of the cell's."""
    home.lose()
    with pytest.raises(ClaimLost):
        home.publish()


@pytest.mark.parametrize("moment", ["before its rename", "after it"])
def test_who_loses_its_claim_leaves_what_the_new_holder_wrote(
    home: Home, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def put_in_place(draft: Path, path: Path) -> None:
        draft.replace(path)
        if path.name == DEV:  # a claim is written so too
            home.lose()

    if moment == "after it":
        finish(monkeypatch, Finished())
        monkeypatch.setattr(durable_files, "put_in_place", put_in_place)
    else:
        finish(monkeypatch, Finished(meanwhile=home.lose))
    with pytest.raises(ClaimLost):
        home.publish()
    assert (home.folder / DEV).read_text() == "theirs"
    assert not (home.folder / RESULT).exists()
    with pytest.raises(ClaimLost):
        module._remove_checkpoints(home.folder, home.claim)
    assert home.weights() == ["best-0001", "step-0001"]


def test_predictions_of_a_published_result_are_never_replaced(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by the holder of the highest claim."""
    (home.folder / DEV).write_text("theirs")
    finish(monkeypatch, Finished((home.folder / RESULT).touch))
    with pytest.raises(ClaimLost):
        home.publish()
    assert (home.folder / DEV).read_text() == "theirs"


def test_a_claim_lost_on_the_way_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise ClaimLost("another process has taken over")

    monkeypatch.setattr(module, "_work", lost)
    assert not bring(tmp_path)


def test_weights_that_a_kill_left_beside_a_result_are_removed(home: Home, tmp_path: Path) -> None:
    (home.folder / RESULT).touch()
    (home.folder / RUN / "log.jsonl").touch()
    (home.folder / f"{RUN}.old1").mkdir()
    assert not bring(tmp_path)  # one is still at work
    assert len(home.weights()) == 3
    home.claim.give_back()
    assert bring(tmp_path)
    assert home.weights() == []
    assert (home.folder / RUN / "log.jsonl").exists()


def test_a_result_is_seen_though_its_absence_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by an NFS client that was asked for the name before."""
    CELL.folder(tmp_path).mkdir(parents=True)
    (CELL.folder(tmp_path) / RESULT).touch()

    def work(*_: object) -> None:
        raise AssertionError("run again")

    monkeypatch.setattr(module, "_work", work)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert bring(tmp_path)
