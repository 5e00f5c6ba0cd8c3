"""A run of pretraining starts from random weights, from word vectors or from an earlier encoder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from tests.helpers import TINY, cache_encoder, save_encoder
from tests.pretrain.running import complaint, run, weights_of


def test_word_embeddings_begin_with_neighbours_or_random(place: Path) -> None:
    started = {}
    for kind in ("neighbours", "random"):
        assert run("--steps", "0", "--embeddings", kind, "--save", kind) == 0
        started[kind] = load_file(place / kind / "model.safetensors")
    differing = [k for k, t in started["random"].items() if not t.equal(started["neighbours"][k])]
    words = "embeddings.word_embeddings.weight"
    assert differing == [words]
    (file,) = place.glob("cache/*/word-vectors-32.npy")
    vectors = torch.from_numpy(np.load(file))
    known = vectors.abs().amax(dim=1) > 0
    assert torch.equal(started["neighbours"][words][known], vectors[known])
    assert torch.equal(started["neighbours"][words][~known], started["random"][words][~known])


def test_no_steps_write_the_encoder_as_it_begins(place: Path) -> None:
    assert run("--steps", "0", "--seed", "3") == 0
    first = weights_of("out/encoder")
    assert run("--steps", "0", "--seed", "3") == 0
    assert weights_of("out/encoder") == first
    assert run("--steps", "0", "--seed", "4") == 0
    assert weights_of("out/encoder") != first


def test_a_head_is_saved_once_it_has_learnt(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", TINY)
    assert run("--steps", "0", start=("--weights", "begun")) == 0
    assert "no whole mlm head, so it begins fresh" in capsys.readouterr().err
    before, after = (load_file(f"{name}/model.safetensors") for name in ("begun", "out/encoder"))
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert run("--steps", "3", start=("--weights", "out/encoder")) == 2
    assert "lies in the run's own folder" in capsys.readouterr().err
    assert run("--steps", "3", "--no_nsp", "--save", "headed", start=("--weights", "begun")) == 0
    assert architecture("headed") == "BertForMaskedLM"
    capsys.readouterr()
    assert run("--steps", "0", start=("--weights", "headed")) == 0
    printed = capsys.readouterr().err
    assert "no whole nsp head" in printed and "no whole mlm head" not in printed
    assert weights_of("out/encoder") == weights_of("headed")
    assert architecture("out/encoder") == "BertForMaskedLM"
    assert run("--steps", "3", "--save", "both", start=("--weights", "headed")) == 0
    assert architecture("both") == "BertForPreTraining"


def architecture(folder: str) -> str:
    (name,) = json.loads(Path(folder, "config.json").read_text())["architectures"]
    return name


def test_positions_beyond_the_trained_ones_begin_as_repeats(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", TINY)
    start = ("--weights", "begun")
    assert run("--steps", "0", "--repeat_positions", "5", start=start) == 0
    name = "position_embeddings.weight"
    before = load_file("begun/model.safetensors")[f"embeddings.{name}"]
    after = load_file("out/encoder/model.safetensors")[f"embeddings.{name}"]
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
    words = load_file("out/encoder/model.safetensors")["embeddings.word_embeddings.weight"]
    assert float(words.std()) == pytest.approx(0.5)
    capsys.readouterr()
    assert run("--steps", "0", "--embedding_std", "1e-6", start=("--weights", "begun")) == 2
    assert "must be 0.001 to 10" in complaint(capsys)
    assert run("--steps", "0", "--embedding_std", "0.5") == 2
    assert "--embedding_std would do nothing here: it needs --weights" in complaint(capsys)


def test_shape_flags_beside_weights_would_do_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", TINY)
    assert run("--layers", "2", start=("--weights", "begun")) == 2
    assert "--layers would do nothing" in complaint(capsys)


def test_an_encoder_without_token_types_knows_no_pairs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", dataclasses.replace(TINY, type_vocab_size=1))
    assert run("--steps", "0", start=("--weights", "begun")) == 2
    assert "take --no_nsp" in complaint(capsys)


def test_going_on_from_a_name_in_the_local_cache(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "hub"))
    cache_encoder(place / "hub", "someone/tiny", "a" * 40, TINY)
    assert run("--steps", "0", start=("--weights", "someone/tiny")) == 0
    assert run("--steps", "0", start=("--weights", "someone/else")) == 2
    assert "python -m minbert.download --weights someone/else" in capsys.readouterr().err


def test_the_saved_encoder_fine_tunes_with_the_dropout_asked_for(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever pretraining itself has; the weights are the same."""

    def rates(folder: str) -> set[float]:
        config = json.loads(Path(folder, "config.json").read_text())
        return {config[f"{kind}_dropout_prob"] for kind in ("hidden", "attention_probs")}

    few = ("--steps", "2", "--dropout", "0.2")
    assert run(*few, "--save", "usual") == 0
    assert run(*few, "--finetune_dropout", "0", "--save", "none") == 0
    assert (rates("usual"), rates("none")) == ({0.1}, {0.0})
    assert weights_of("none") == weights_of("usual")
    go_on = ("--resume", "--finetune_dropout", "0.4", "--save", "again")
    assert run(*few, *go_on) == 0
    assert rates("again") == {0.4}
    begun = ("--weights", "none")
    assert run("--steps", "0", "--save", "kept", start=begun) == 0
    assert run("--steps", "0", "--finetune_dropout", "0.3", "--save", "given", start=begun) == 0
    assert (rates("kept"), rates("given")) == ({0.0}, {0.3})
    capsys.readouterr()
    assert run("--steps", "0", "--finetune_dropout", "1") == 2
    assert "--finetune_dropout" in complaint(capsys)
