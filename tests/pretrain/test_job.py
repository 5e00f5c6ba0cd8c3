"""The pretraining command learns from the text and writes an encoder, on one rank or two."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert.encoder.bert import BertModel
from minbert.pretrain.config import PretrainConfig
from minbert.pretrain.model import PretrainingBert
from minbert.support import device
from minbert.support.errors import InputError
from minbert.training import group
from minbert.training.checkpoint import CheckpointStore
from tests.helpers import VOCAB
from tests.pretrain.running import manifest, run
from tests.pretrain.stopping import affording_differently
from tests.pretrain.texts import learnable_documents, write_documents


def test_it_learns_words_and_neighbours(place: Path) -> None:
    write_documents(place / "text.txt", learnable_documents(800))
    flags = ("--steps", "200", "--lr", "7e-3", "--dropout", "0", "--batch_size", "48")
    at_once = ("--micro_batch_size", "48", "--checkpoint_every", "500")  # as few passes as can be
    assert run(*flags, *at_once) == 0
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


@pytest.mark.slow
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
    assert run("--time_budget", "2s", "--ranks", "2") == 0
    assert manifest()["total_steps"] == 4
    assert len(Path("out/log.jsonl").read_text().splitlines()) == 4
    assert "ranks" not in CheckpointStore(Path("one")).load_last()[1]["settings"]
    with pytest.raises(InputError, match=r"^--ranks 9 --batch_size 8: too few rows$"):
        PretrainConfig(text=("a",), ranks=9, batch_size=8)
