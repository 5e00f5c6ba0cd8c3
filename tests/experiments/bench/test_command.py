"""The bench: losses that agree before anything is timed, peers that may be missing, its files."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.experiments.__main__ import main
from minbert.experiments.bench import command, ours, report
from minbert.experiments.bench.contender import WORKS, TokenCount
from minbert.experiments.bench.peers import Peer, PeerModel, _grouped
from tests.helpers import TINY, save_encoder, write_course_files


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder and data."""
    folder = tmp_path_factory.mktemp("bench")
    save_encoder(folder / "encoder", TINY, num_hidden_layers=1)
    write_course_files(folder / "data")
    return folder


def flags(place: Path, *more: str) -> list[str]:
    where = ["--weights", f"{place}/encoder", "--data_dir", f"{place}/data", "--device", "cpu"]
    size = ["--batch_sizes", "4", "--steps", "2", "--rows", "8", "--rounds", "2"]
    return ["bench", *where, *size, *more]


def test_from_flags_to_tables_and_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    outputs = {name: place / f"all.{name}" for name in ("json", "csv", "md")}
    named = [f"--json={outputs['json']}", f"--csv={outputs['csv']}", f"--markdown={outputs['md']}"]
    assert main(flags(place, "--peers", "transformers", *named)) == 0
    printed = capsys.readouterr().out
    assert outputs["md"].read_text() == printed
    assert all(f"| {title} |" in printed for title in WORKS.values())
    found = json.loads(outputs["json"].read_text())
    with outputs["csv"].open(newline="") as stream:
        assert [row["work"] for row in csv.DictReader(stream)] == [
            row["work"] for row in found["rows"]
        ]
    names = ["minbert", "transformers, as used", "transformers, tuned"]
    assert [row["contender"] for row in found["rows"]] == names * len(WORKS)
    for row in found["rows"]:
        assert 0 < row["seconds_low"] <= row["seconds"] <= row["seconds_high"]
        assert row["padded_per_real"] is None or row["padded_per_real"] >= 1
        assert row["contender"] != "minbert" or row["ratio"] == 1
    assert sum(found["shares"]["encoder"].values()) == pytest.approx(1)
    for part in ("attention", "dropout", "optimizer"):
        assert found["shares"]["encoder"][part] > 0
    assert main(flags(place, "--works", "adamw", *named)) == 0  # over its own files


def test_single_sentences(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    assert main(flags(place, "--task", "sst", "--works", "smart", "--peers", "transformers")) == 0
    assert "| SMART + Bregman step | 4 |" in capsys.readouterr().out


def test_a_peers_model_is_made_once_and_begins_each_work_with_the_same_weights(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled model would be compiled anew for every work."""
    pytest.importorskip("transformers")
    made, begun, new, model = [], [], Peer._new_model, Peer._model

    def begins(peer: Peer) -> PeerModel:
        found = model(peer)
        trains = [param.requires_grad for param in found.parameters()]
        begun.append((sum(p.double().sum().item() for p in found.parameters()), all(trains)))
        return found

    monkeypatch.setattr(Peer, "_new_model", lambda peer: made.append(peer) or new(peer))
    monkeypatch.setattr(Peer, "_model", begins)
    works = ("--works", "frozen", "step", "inference")
    assert main(flags(place, *works, "--peers", "transformers")) == 0
    assert len(made) == 2  # as used, tuned
    assert len(begun) == 8 and set(begun) == {(begun[0][0], True)}


def test_where_losses_disagree_nothing_is_timed(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    loss = ours.Ours.loss
    monkeypatch.setattr(ours.Ours, "loss", lambda self, size: loss(self, size) + 2e-5)
    assert main(flags(place, "--peers", "transformers")) == 1
    words = capsys.readouterr()
    assert words.out == ""
    assert "transformers, as used: loss 0." in words.err and "nothing is timed" in words.err


def test_a_missing_peer_is_left_out_in_a_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(flags(place, "--works", "adamw")) == 0
    words = capsys.readouterr()
    for package in ("transformers", "smart_pytorch"):
        assert f"{package} is left out: transformers is not installed" in words.err
    assert "| AdamW update | 4 |" in words.out


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--works", "sleep"], "--works: invalid choice: 'sleep'"),
        (["--peers", "keras"], "--peers: invalid choice: 'keras'"),
        (["--batch_sizes", "4", "0"], "--batch_sizes 4 0: must be whole numbers, 1 or more"),
        (["--rounds", "0"], "--rounds 0: must be 1 or more"),
        (["--csv", "table.txt"], "--csv table.txt: must end in .csv"),
        (["--weights", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_wrong_usage_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], more: list[str], complaint: str
) -> None:
    assert main(flags(place, *more)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert complaint in line


def test_nothing_else_is_written_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = place / "notes.md"
    other.write_text("mine\n")
    assert main(flags(place, "--markdown", str(other))) == 2
    assert "holds something else" in capsys.readouterr().err
    assert other.read_text() == "mine\n"


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is slower in one round changes no ratio."""
    seconds = {"ours": [1.0, 10.0, 2.0], "theirs": [3.0, 30.0, 6.0]}
    tokens = {"ours": TokenCount(10, 12), "theirs": TokenCount(10, 20)}
    ours, theirs = report.make_rows("e", "step", 4, seconds, tokens)
    assert (theirs.ratio, theirs.ratio_low, theirs.ratio_high) == (3.0, 3.0, 3.0)
    assert (ours.seconds, ours.padded_per_real, theirs.padded_per_real) == (2.0, 1.2, 2.0)


def test_grouped_batches_hold_every_row_once_and_are_of_similar_length() -> None:
    lengths = torch.randint(5, 40, (103,), generator=torch.Generator().manual_seed(0)).numpy()
    batches: Any = _grouped(lengths, 8, 1)
    assert sorted(row for batch in batches for row in batch) == list(range(103))
    spans = sorted((lengths[batch].min(), lengths[batch].max()) for batch in batches)
    assert all(high <= low for (_, high), (low, _) in pairwise(spans))
