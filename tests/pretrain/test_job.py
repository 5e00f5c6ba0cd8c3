"""The pretraining command: it learns, resumes to the same bytes, and refuses in one line."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from minbert.encoder.bert import BertModel
from minbert.pretrain import __main__ as pretrain
from minbert.pretrain import budget, objective, shards
from minbert.pretrain.budget import Costs
from minbert.pretrain.config import PretrainConfig
from minbert.pretrain.model import PretrainingBert
from minbert.support import device
from minbert.support.durable_files import draft_of
from minbert.support.errors import InputError
from minbert.training import group
from minbert.training.checkpoint import CheckpointStore
from tests.helpers import TINY, VOCAB, cache_encoder, save_encoder
from tests.pretrain.stopping import affording_differently, assert_same_run, check_stops
from tests.pretrain.texts import learnable_documents, random_documents, write_documents

SHAPE = ["--layers", "1", "--hidden_size", "32", "--attention_heads", "2", "--positions", "32"]
SMALL = ["--sequence_length", "24", "--batch_size", "16", "--micro_batch_size", "6"]
SMALL += ["--held_out", "0.1"]
SMALL += ["--output_dir", "out", "--cache", "cache", "--scorings", "3", "--checkpoint_every", "4"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with text and with the tests' vocabulary, made the current one."""
    write_documents(tmp_path / "text.txt", random_documents(150))
    (tmp_path / "quora.csv.xz").touch()
    (tmp_path / "vocab").mkdir()
    (tmp_path / "vocab" / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCAB))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*argv: str, start: tuple[str, ...] = ("--vocab", "vocab")) -> int:
    shape = [] if "--weights" in start else SHAPE
    return pretrain.main(["--text", "text.txt", *start, *shape, *SMALL, *argv])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()[-1]


def weights_of(folder: Path | str) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def manifest() -> dict[str, Any]:
    return json.loads(Path("out/manifest.json").read_text())


def test_it_learns_words_and_neighbours(place: Path) -> None:
    write_documents(place / "text.txt", learnable_documents(800))
    flags = ("--steps", "200", "--lr", "7e-3", "--dropout", "0", "--batch_size", "48")
    assert run(*flags) == 0
    (first, *_, last) = manifest()["epochs"]
    assert last["scores"]["perplexity"] < 0.5 * first["scores"]["perplexity"] < len(VOCAB)
    assert last["scores"]["nsp accuracy"] > 0.8
    assert last["criterion"] > first["criterion"]


def test_what_it_writes_is_an_encoder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--steps", "4", "--save", "made", "--half") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("encoder written to made\n")
    encoder = BertModel.from_pretrained("made")
    assert encoder.config.hidden_size == 32
    assert set(encoder.vocab_files) == {"vocab.txt"}
    stored = load_file("made/model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert {name.split(".")[0] for name in stored} == {"bert", "cls"}
    assert not list(Path("made").glob(".*"))


def test_its_own_vocabulary(place: Path) -> None:
    assert run("--steps", "2", "--vocab_size", "100", start=()) == 0
    encoder = BertModel.from_pretrained("out/encoder")
    assert encoder.config.vocab_size == 100
    assert set(encoder.vocab_files) == {"vocab.txt", "tokenizer_config.json"}


def test_word_embeddings_begin_with_neighbours_or_random(place: Path) -> None:
    started = {}
    for kind in ("neighbours", "random"):
        assert run("--steps", "0", "--embeddings", kind, "--save", kind) == 0
        started[kind] = load_file(place / kind / "model.safetensors")
    differing = [k for k, t in started["random"].items() if not t.equal(started["neighbours"][k])]
    words = "bert.embeddings.word_embeddings.weight"
    assert differing == [words]
    (file,) = place.glob("cache/*/word-vectors-32.npy")
    vectors = torch.from_numpy(np.load(file))
    known = vectors.abs().amax(dim=1) > 0
    assert torch.equal(started["neighbours"][words][known], vectors[known])
    assert torch.equal(started["neighbours"][words][~known], started["random"][words][~known])


@pytest.mark.parametrize("flags", [(), ("--no_nsp",), ("--whole_words",)], ids=str)
def test_a_run_that_was_stopped_ends_in_the_same_bytes(
    place: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    check_stops(monkeypatch, run, objective.PretrainingObjective, flags)


@pytest.mark.parametrize("stopped_at", [1, 7])
def test_a_launcher_that_starts_it_again_need_not_say_resume(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stopped_at: int,
) -> None:
    """And moves nothing aside, also where there is no checkpoint yet."""
    assert run("--steps", "9", "--output_dir", "whole") == 0
    with monkeypatch.context() as patched:
        patched.setattr(objective.PretrainingObjective, "passes", fail_at(stopped_at))
        with pytest.raises(KeyError):
            run("--steps", "9")
    monkeypatch.setattr(group, "_again", False)  # put back at the end
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert run("--steps", "9") == 0
    said = {1: "starting afresh", 7: "resumed at step 6 of 9"}[stopped_at]
    assert said in capsys.readouterr().err
    assert_same_run()
    assert not list(place.glob("out.old*"))


def fail_at(step: int) -> Any:
    """The passes of a rank that ends at the `step`-th batch, counted from 1."""
    passes, calls = objective.PretrainingObjective.passes, itertools.count(1)

    def failing(*args: Any, **settings: Any) -> Any:
        if next(calls) == step:
            raise KeyError
        return passes(*args, **settings)

    return failing


def test_a_time_budget_fixes_the_steps_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(10.0, 5.0, 0.0))
    passes, calls = objective.PretrainingObjective.passes, [0]

    def interrupted(*args: Any, **settings: Any) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return passes(*args, **settings)

    monkeypatch.setattr(objective.PretrainingObjective, "passes", interrupted)
    assert run("--time_budget", "2m") == 143
    steps = manifest()["total_steps"]
    assert 8 <= steps <= 10  # (120 · .98 - 3 · 5 - a second or so) / 10
    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(1.0, 1.0, 0.0))
    assert run("--time_budget", "2m", "--resume") == 0
    assert manifest()["total_steps"] == steps
    assert manifest()["epochs"][-1]["step"] == steps
    rates = [json.loads(line)["lr"] for line in Path("out/log.jsonl").read_text().splitlines()]
    assert len(rates) == steps
    assert rates[-1] < 0.2 * max(rates)


def test_a_time_budget_holds_before_the_first_checkpoint_too(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its second step, a run goes on with the number of steps it had fixed."""
    passes, calls = objective.PretrainingObjective.passes, [0]

    def killed(*args: Any, **settings: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return passes(*args, **settings)

    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(10.0, 5.0, 0.0))
    monkeypatch.setattr(objective.PretrainingObjective, "passes", killed)
    with pytest.raises(KeyboardInterrupt):
        run("--time_budget", "2m")
    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(1.0, 1.0, 0.0))
    assert run("--time_budget", "2m", "--resume") == 0
    assert 8 <= manifest()["total_steps"] <= 10


def test_checkpoints_are_paid_for() -> None:
    """A step a second and a checkpoint of two every tenth, and three scorings of one and two."""
    assert Costs(1.0, 1.0, 2.0).steps(75.0, scorings=3, checkpoint_every=10) == 50


def test_without_a_checkpoint_a_time_budget_is_measured_anew(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, budget_given in ((10.0, "2m"), (10.0, "3m")):
        monkeypatch.setattr(budget, "_measure", lambda *_, s=seconds, **__: Costs(s, 5.0, 0.0))
        assert run("--time_budget", budget_given, "--resume") == 0
        found = manifest()["total_steps"]
        shutil.rmtree("out/finished")
    assert found > 12  # those of 3m


def test_a_time_budget_is_spent_and_no_more(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of a second a step, a scoring and a checkpoint, so that load does not matter."""
    began, ticks = time.monotonic(), itertools.count()
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: began + next(ticks)))
    assert run("--time_budget", "1m") == 0
    seconds = manifest()["total_steps"] * (1 + 1 / 4) + 3 * (1 + 2)
    measuring = 4 * 2 + 2 + 2  # steps, a scoring, a checkpoint: a second each and one between
    assert 60 - measuring - 5 <= seconds <= 0.98 * 60


def test_measuring_leaves_no_trace(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--steps", "5", "--output_dir", "plain") == 0
    parts_total = budget._affordable

    def five(*args: Any) -> int:
        parts_total(*args)
        return 5

    monkeypatch.setattr(budget, "_affordable", five)
    assert run("--time_budget", "20s") == 0
    assert weights_of("out/encoder") == weights_of("plain/encoder")


def test_a_budget_that_is_too_short(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--time_budget", "0.01s") == 2
    assert "--time_budget 0.01s: too short" in complaint(capsys)
    assert not Path("out").exists()


@pytest.mark.parametrize("able", [True, False])
def test_the_manifest_names_the_precision_that_auto_took(
    place: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    monkeypatch.setattr(device, "multiplies_bf16", lambda: able)
    lowered = []
    monkeypatch.setattr(
        PretrainingBert, "to", lambda model, _device: lowered.append(model._autocast) or model
    )
    assert run("--steps", "0") == 0
    assert manifest()["config"]["precision"] == ("bf16" if able else "fp32")
    assert lowered == [torch.bfloat16 if able else None]


def test_passes_over_the_text(place: Path) -> None:
    assert run("--passes", "0.5", "--batch_size", "4") == 0
    half = manifest()["total_steps"]
    assert run("--passes", "1", "--batch_size", "4") == 0
    assert abs(manifest()["total_steps"] - 2 * half) <= 1


def test_no_steps_write_the_encoder_as_it_begins(place: Path) -> None:
    assert run("--steps", "0", "--seed", "3") == 0
    first = weights_of("out/encoder")
    assert run("--steps", "0", "--seed", "3") == 0
    assert weights_of("out/encoder") == first
    assert run("--steps", "0", "--seed", "4") == 0
    assert weights_of("out/encoder") != first


def test_going_on_from_an_encoder_without_heads(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", TINY)
    assert run("--steps", "0", start=("--weights", "begun")) == 0
    assert "no whole mlm head, so it begins fresh" in capsys.readouterr().err
    before, after = (load_file(f"{name}/model.safetensors") for name in ("begun", "out/encoder"))
    assert all(torch.equal(after[f"bert.{name}"], tensor) for name, tensor in before.items())
    assert run("--steps", "3", start=("--weights", "out/encoder")) == 2
    assert "lies in the run's own folder" in capsys.readouterr().err
    Path("out/encoder").rename("headed")
    assert run("--steps", "3", start=("--weights", "headed")) == 0
    assert "begins fresh" not in capsys.readouterr().err


def test_positions_beyond_the_trained_ones_begin_as_repeats(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", TINY)
    start = ("--weights", "begun")
    assert run("--steps", "0", "--repeat_positions", "5", start=start) == 0
    name = "position_embeddings.weight"
    before = load_file("begun/model.safetensors")[f"embeddings.{name}"]
    after = load_file("out/encoder/model.safetensors")[f"bert.embeddings.{name}"]
    capsys.readouterr()
    source = [0, 1, 2, 3, 4, *([1, 2, 3, 4] * len(before))][: len(before)]
    assert torch.equal(after, before[source])
    assert run("--steps", "0", "--repeat_positions", "32", start=start) == 2
    assert "the encoder has 32 positions" in complaint(capsys)
    assert run("--steps", "0", "--repeat_positions", "5") == 2
    assert "--repeat_positions would do nothing here: it needs --weights" in complaint(capsys)


def test_embeddings_can_be_scaled(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_encoder(place / "begun", TINY)
    assert run("--steps", "0", "--embedding_std", "0.5", start=("--weights", "begun")) == 0
    words = load_file("out/encoder/model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert float(words.std()) == pytest.approx(0.5)
    capsys.readouterr()
    assert run("--steps", "0", "--embedding_std", "1e-6", start=("--weights", "begun")) == 2
    assert "must be 0.001 to 10" in complaint(capsys)
    assert run("--steps", "0", "--embedding_std", "0.5") == 2
    assert "--embedding_std would do nothing here: it needs --weights" in complaint(capsys)


def test_an_earlier_encoder_stays_until_the_new_one_is_done(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--steps", "2", "--save", "made") == 0
    before = weights_of("made")

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(objective.PretrainingObjective, "passes", fails)
    assert run("--steps", "2", "--save", "made", "--seed", "5") == 1
    assert weights_of("made") == before


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_a_run_killed_while_it_wrote_the_encoder_can_be_gone_on_with(
    place: Path, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    """Before a file is in its place, and between them; a kill leaves the draft as well."""
    assert run("--steps", "3", "--save", "whole") == 0
    replace, left = Path.replace, [renamed]

    def killed(draft: Path, path: Path) -> Path:
        if path.parent.name == "made":
            if left[0] == 0:
                parts = draft_of(path).name.split(".")  # of a process that is no more
                draft.with_name(".".join([*parts[:-2], str(2**22 + 1), "tmp"])).touch()
                raise KeyboardInterrupt
            left[0] -= 1
        return replace(draft, path)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run("--steps", "3", "--save", "made")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert run("--steps", "3", "--save", "made", "--resume") == 0
    assert weights_of("made") == weights_of("whole")
    assert not list(Path("made").glob(".*"))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--text", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--text"], "expected at least one argument"),
        (["--steps", "1", "--passes", "1"], "--steps and --passes"),
        (["--time_budget", "soon"], "--time_budget soon: give a time"),
        (["--time_budget", "-5m"], "--time_budget"),
        (["--steps", "-1"], "--steps -1: must be 0 or more"),
        (["--hidden_size", "33"], "hidden_size 33 is not divisible"),
        (["--weights", "vocab"], "does nothing beside"),
        (["--vocab_size", "50"], "--vocab_size would do nothing"),
        (["--power", "2"], "--power would do nothing"),
        (["--sequence_length", "64"], "the encoder has 32 positions"),
        (["--sequence_length", "8"], "must be 16 or more"),
        (["--held_out", "0"], "--held_out 0.0: must be above 0"),
        (["--vocab", "nowhere"], "nowhere"),
        (["--save", "text.txt"], "a file of that name"),
        (["--save", "."], "holds something else than an encoder"),
        (["--save", os.fsdecode(b"encoder-\xff")], "its name is no UTF-8; name another"),
        (["--save", "text.txt/encoder"], "--save text.txt/encoder: cannot be written"),
        (["--output_dir", "text.txt"], "--output_dir text.txt: a file of that name"),
        (["--text", "quora.csv.xz"], "--text quora.csv.xz: a packed table is not read; unpack"),
        (["--text", "quora.csv"], "--text quora.csv: its texts have no next sentence"),
        (["--schedule", "cosine"], "invalid choice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert run(*argv) == 2
    assert words in complaint(capsys)
    assert not Path("out").exists()


def test_shape_flags_beside_weights_would_do_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", TINY)
    assert run("--layers", "2", start=("--weights", "begun")) == 2
    assert "--layers would do nothing" in complaint(capsys)


def test_another_setting_is_no_run_to_go_on_with(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--steps", "3") == 0
    capsys.readouterr()
    assert run("--steps", "3", "--lr", "1e-4", "--resume") == 2
    assert "another lr" in complaint(capsys)
    write_documents(place / "text.txt", random_documents(150, seed=1))
    assert run("--steps", "3", "--resume") == 2
    assert "another text 0" in complaint(capsys)


def test_other_weights_are_no_run_to_go_on_with(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", TINY)
    start = ("--weights", "begun")
    assert run("--steps", "3", start=start) == 0
    assert run("--steps", "3", "--resume", "--half", "--save", "more", start=start) == 0
    capsys.readouterr()
    tensors = load_file("begun/model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, "begun/model.safetensors")
    assert run("--steps", "3", "--resume", start=start) == 2
    assert "another weights" in complaint(capsys)


def test_a_run_of_the_main_job_is_none_to_go_on_with(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose checkpoints know no number of steps."""
    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(1.0, 1.0, 0.0))
    assert run("--steps", "3") == 0
    store = CheckpointStore(Path("out"))
    saved = store.load_last()
    assert saved is not None
    del saved[1]["settings"]["total_steps"]
    shutil.rmtree("out/finished")
    store.finish(saved[1])
    capsys.readouterr()
    assert run("--time_budget", "1m", "--resume") == 2
    assert "was begun with another" in complaint(capsys)


def test_text_packed_in_another_way_is_not_gone_on_with(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--steps", "3") == 0
    capsys.readouterr()
    monkeypatch.setattr(shards, "_FORMAT", 99)
    assert run("--steps", "3", "--resume") == 2
    assert "another packed text" in complaint(capsys)


def test_an_encoder_without_token_types_knows_no_pairs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", dataclasses.replace(TINY, type_vocab_size=1))
    assert run("--steps", "0", start=("--weights", "begun")) == 2
    assert "take --no_nsp" in complaint(capsys)


def test_help_gives_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        pretrain.main(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{name} " in shown for name in PretrainConfig.__dataclass_fields__)


def test_going_on_from_a_name_in_the_local_cache(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "hub"))
    cache_encoder(place / "hub", "someone/tiny", "a" * 40, TINY)
    assert run("--steps", "0", start=("--weights", "someone/tiny")) == 0
    assert run("--steps", "0", start=("--weights", "someone/else")) == 2
    assert "python -m minbert.download --weights someone/else" in capsys.readouterr().err


@pytest.mark.usefixtures("forked_ranks")
def test_ranks_are_one_process_and_agree_on_a_time_budget(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--steps", "6", "--dropout", "0")
    assert run(*flags, "--output_dir", "one") == 0
    assert run(*flags, "--ranks", "2", "--output_dir", "two") == 0
    assert capfd.readouterr().out.count("encoder written to") == 2
    logs = [
        [json.loads(line) for line in Path(f"{name}/log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for one, two in zip(*logs, strict=True):
        assert (one["step"], one["tokens"]) == (two["step"], two["tokens"])
        for name in ("loss", "mlm_loss", "nsp_loss"):
            assert two[name] == pytest.approx(one[name], rel=1e-4)
    made = [load_file(f"{name}/encoder/model.safetensors") for name in ("one", "two")]
    for name, tensor in made[0].items():
        torch.testing.assert_close(made[1][name], tensor, rtol=1e-3, atol=1e-4)
    launch = group.launch
    disagreeing = partial(partial, affording_differently)
    monkeypatch.setattr(group, "launch", lambda count, work: launch(count, disagreeing(work)))
    assert run("--time_budget", "2m", "--ranks", "2") == 0
    assert manifest()["total_steps"] == 4
    assert len(Path("out/log.jsonl").read_text().splitlines()) == 4
    assert "ranks" not in CheckpointStore(Path("one")).load_last()[1]["settings"]
    with pytest.raises(InputError, match=r"^--ranks 9 --batch_size 8: too few rows$"):
        PretrainConfig(text=("a",), ranks=9, batch_size=8)
