"""`python -m minbert.pretrain --teacher`: it learns, resumes to the same bytes, saves no map."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from minbert.encoder.bert import BertModel
from minbert.pretrain import __main__ as pretrain
from minbert.pretrain import budget, build, lessons, teaching
from minbert.pretrain.teacher import Teacher
from minbert.training.checkpoint import CheckpointStore
from tests.helpers import CPU, VOCAB, save_encoder, write_course_files
from tests.pretrain.running import manifest, weights_of
from tests.pretrain.running import run_taught as run
from tests.pretrain.stopping import assert_same_run, check_stops, stop_at
from tests.pretrain.taught import SHAPE
from tests.pretrain.texts import random_documents, write_documents

BESIDE = ("--text_share", "0.25", "--pair_share", "0.5")
AT_ONCE = ("--micro_batch_size", "16", "--checkpoint_every", "500")  # as few passes as can be


def test_it_learns_the_teachers_vectors(taught: Path) -> None:
    write_course_files(taught / "data", rows=30, tasks=["sts"])
    flags = ("--steps", "120", "--lr", "1e-2", "--dropout", "0", "--embeddings", "teacher")
    assert run(*flags, *AT_ONCE, "--scored_pairs", "data/sts-dev.csv") == 0
    (first, *_, last) = manifest()["epochs"]
    assert set(last["scores"]) == {"word loss", "sentence loss", "pairs' r"}
    losses = last["scores"]["word loss"] + last["scores"]["sentence loss"]
    assert last["criterion"] == pytest.approx(-losses)
    lines = [json.loads(line) for line in Path("out/log.jsonl").read_text().splitlines()]
    assert {line["task"] for line in lines} == {"teacher"}
    for name in ("word loss", "sentence loss"):
        assert last["scores"][name] < first["scores"][name]
        assert last["scores"][name] < 0.5 * lines[0][name.replace(" ", "_")] < 0.5


def test_pairs_that_it_reads_together_are_scored(taught: Path) -> None:
    write_course_files(taught / "data", rows=30, tasks=["sts"])
    flags = ("--steps", "30", "--lr", "1e-2", "--pair_share", "1")
    assert run(*flags, *AT_ONCE, "--scored_pairs", "data/sts-dev.csv") == 0
    scores = [epoch["scores"] for epoch in manifest()["epochs"]]
    assert {"score loss", "pairs' r", "together"} < set(scores[0])
    lines = [json.loads(line) for line in Path("out/log.jsonl").read_text().splitlines()]
    assert lines[-1]["score_loss"] < 0.1 * lines[0]["score_loss"]


def test_what_it_writes_is_a_plain_encoder(taught: Path, capsys) -> None:
    assert run("--steps", "3", "--save", "made", "--half") == 0
    assert "held-out word loss" in capsys.readouterr().out
    encoder = BertModel.from_pretrained("made")
    stored = load_file("made/model.safetensors")
    plain = load_file(save_encoder(taught / "plain", encoder.config) / "model.safetensors")
    assert stored.keys() == plain.keys()  # neither a map nor heads
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert json.loads(Path("made/config.json").read_text())["architectures"] == ["BertModel"]
    assert run("--steps", "0", "--weights", "made", start=("--weights", "made")) == 0


def test_beside_masked_words_the_heads_are_saved_and_the_map_is_not(taught: Path) -> None:
    assert run("--steps", "6", *BESIDE) == 0
    stored = load_file("out/encoder/model.safetensors")
    assert {name.split(".")[0] for name in stored} == {"bert", "cls"}
    assert not any("teacher" in name for name in stored)
    scores = manifest()["epochs"][-1]["scores"]
    names = {"word loss", "sentence loss", "score loss", "mlm loss", "nsp accuracy"}
    assert names == set(scores) - {"perplexity"}
    lines = [json.loads(line) for line in Path("out/log.jsonl").read_text().splitlines()]
    assert [line["task"] for line in lines] == ["teacher", "text"] * 6


def test_the_share_divides_the_rows_of_a_step(taught: Path) -> None:
    argv = ["--text", "text.txt", "--vocab", "vocab", "--teacher", "better", "--held_out", "0.1"]
    argv += ["--positions", "32", "--sequence_length", "24", "--batch_size", "16"]
    ingredients = build.gather(pretrain.parse([*argv, *BESIDE]), CPU)
    steps = list(build.trainee(ingredients, 9).plan.order.epoch(0))
    for (taught_name, rows), (other, packed) in steps:
        assert (taught_name, len(rows), other, len(packed)) == ("teacher", 12, "text", 4)


def test_the_map_is_in_checkpoints_and_the_teacher_is_not(taught: Path, monkeypatch) -> None:
    loaded: list[Teacher] = []

    def load(*args: Any) -> Teacher:
        loaded.append(load_teacher(*args))
        return loaded[-1]

    load_teacher = build.load_teacher
    monkeypatch.setattr(build, "load_teacher", load)
    made: list[Any] = []
    optimizer_for = build.optimizer_for
    monkeypatch.setattr(
        build, "optimizer_for", lambda *a: made.append(optimizer_for(*a)) or made[-1]
    )
    file = Path("better/model.safetensors").read_bytes()
    stop_at(monkeypatch, teaching.TeachingObjective, 3)
    assert run("--steps", "9") == 143
    saved = CheckpointStore(Path("out")).load_last()
    assert saved is not None
    tensors = saved[0]["model"]
    assert tensors["to_teacher.weight"].shape == (SHAPE.hidden_size, 32)
    assert not any(t.shape[-1:] == (SHAPE.vocab_size,) for t in tensors.values())
    (teacher,), (optimizer,) = loaded, made
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    params = list(teacher.encoder.parameters())
    assert trained
    assert trained.isdisjoint(map(id, params))
    assert not any(param.requires_grad for param in params)
    assert not any(module.training for module in teacher.encoder.modules())
    before = BertModel.from_pretrained("better").state_dict()
    assert all(torch.equal(t, before[n]) for n, t in teacher.encoder.state_dict().items())
    assert Path("better/model.safetensors").read_bytes() == file


@pytest.mark.parametrize(
    "flags",
    [
        (*BESIDE, "--no_nsp", "--dropout", "0"),
        pytest.param(("--text_share", "0.25"), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_that_was_stopped_ends_in_the_same_bytes(
    taught: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    check_stops(monkeypatch, run, teaching.TeachingObjective, flags)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(
    taught: Path, forking: ForkServerContext, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--steps", "12")
    assert run(*flags, "--output_dir", "whole") == 0
    process = forking.Process(target=killed_after_a_checkpoint, args=(taught, flags))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not Path("out/encoder").exists()
    assert run(*flags, "--resume") == 0
    assert re.search(r"resumed at step \d+ of 12", capsys.readouterr().err)
    assert_same_run()


def killed_after_a_checkpoint(folder: Path, flags: tuple[str, ...]) -> None:
    os.chdir(folder)
    torch.set_num_threads(1)
    Thread(target=kill_after_a_checkpoint, daemon=True).start()
    passes = teaching.TeachingObjective.passes

    def slow(*args: Any, **settings: Any) -> Any:
        time.sleep(0.1)
        return passes(*args, **settings)

    teaching.TeachingObjective.passes = slow
    run(*flags)


def kill_after_a_checkpoint() -> None:
    while not list(Path("out").glob("step-*")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def test_measuring_leaves_no_trace(taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--steps", "5", "--output_dir", "whole", *BESIDE) == 0
    affordable, measured = budget._affordable, []
    backward = lessons.SideBySide.backward

    def five(*args: Any) -> int:
        affordable(*args)
        monkeypatch.setattr(lessons.SideBySide, "backward", backward)
        return 5

    def noted(self: Any, model: Any, batch: Any, *more: Any) -> Any:
        measured.append(batch.name)
        return backward(self, model, batch, *more)

    monkeypatch.setattr(lessons.SideBySide, "backward", noted)

    monkeypatch.setattr(budget, "_affordable", five)
    assert run("--time_budget", "10s", *BESIDE) == 0
    assert measured[:4] == ["teacher", "text"] * 2
    assert weights_of("out/encoder") == weights_of("whole/encoder")


def test_passes_are_over_the_sentences(taught: Path) -> None:
    write_documents(taught / "text.txt", random_documents(30))
    sentences = [line for line in Path("text.txt").read_text().splitlines() if line]
    assert run("--passes", "1", "--batch_size", "4", "--text_share", "0.5", *AT_ONCE) == 0
    assert manifest()["total_steps"] == pytest.approx(0.9 * len(sentences) / 2, rel=0.1)


def test_word_embeddings_begin_with_the_teachers(taught: Path) -> None:
    for kind in ("teacher", "random", "neighbours"):
        assert run("--steps", "0", "--embeddings", kind, "--save", kind) == 0
    one, other, third = (
        load_file(f"{kind}/model.safetensors") for kind in ("teacher", "random", "neighbours")
    )
    words = "embeddings.word_embeddings.weight"
    assert [name for name, t in one.items() if not t.equal(other[name])] == [words]
    assert not one[words].equal(third[words])
    assert float(one[words].square().mean().sqrt()) == pytest.approx(0.05 * 0.75**0.5, rel=1e-3)


def test_course_files_need_no_flag_where_no_sentence_is_guessed(taught: Path) -> None:
    write_course_files(taught, rows=60, tasks=["sst"])
    argv = ["--vocab", "vocab", "--teacher", "better", "--steps", "2"]
    argv += ["--positions", "32", "--sequence_length", "16", "--hidden_size", "32"]
    argv += ["--held_out", "0.2", "--cache", "cache", "--output_dir", "out", "--batch_size", "4"]
    assert pretrain.main(["--text", "ids-sst-train.csv", *argv]) == 0


def test_the_students_dropout_and_vocabulary_are_its_own(taught: Path) -> None:
    write_documents(taught / "text.txt", random_documents(300, seed=4))
    assert run("--steps", "2", "--vocab_size", "100", start=()) == 0
    encoder = BertModel.from_pretrained("out/encoder")
    assert encoder.config.vocab_size == 100 != len(VOCAB)
