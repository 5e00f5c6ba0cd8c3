"""What `python -m minbert.pretrain --teacher` refuses, each in one line, and what it warns of."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from minbert.data.subwords import SPECIAL_TOKENS
from tests.helpers import TINY, save_encoder, write_course_files
from tests.pretrain.running import complaint
from tests.pretrain.running import run as run_plain
from tests.pretrain.running import run_taught as run
from tests.pretrain.taught import SHAPE
from tests.pretrain.texts import PLAIN, write_documents


def test_a_teacher_by_name_in_the_local_cache(taught: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(taught / "hub"))
    assert run("--teacher", "someone/else", "--steps", "0") == 2
    last = complaint(capsys)
    assert "--teacher someone/else: no such folder" in last
    assert "python -m minbert.download --weights someone/else" in last


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--teacher", "nowhere"], "--teacher nowhere: no such folder"),
        (["--teacher", "vocab"], "lacks config.json"),
        (["--teacher", "roberta"], "'RobertaModel' is not BERT's"),
        (["--teacher", "chinese"], "only 0% are words to both"),
        (["--teacher", "short"], "--sequence_length 24: the teacher has 20 positions"),
        (["--text_share", "1"], "--text_share 1.0: must be at least 0 and below 1"),
        (["--text_share", "0.01"], "makes 0 of 16 rows"),
        (["--text_share", "0.99"], "makes 16 of 16 rows"),
        (["--pair_share", "1.5"], "--pair_share 1.5: must be 0 to 1"),
        (["--word_weight", "0", "--sentence_weight", "0"], "nothing to learn"),
        (["--mask_rate", "0.2"], "--mask_rate would do nothing here: it needs no --teacher, or"),
        (["--whole_words"], "--whole_words would do nothing"),
        (["--no_nsp"], "--no_nsp would do nothing"),
        (["--scored_pairs", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (["--embeddings", "mine"], "invalid choice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(taught: Path, capsys, argv: list[str], words: str) -> None:
    tokens = [*SPECIAL_TOKENS, *"中文字"]
    for name, changes in (
        ("chinese", {"vocab_size": len(tokens)}),
        ("single", {"type_vocab_size": 1}),
        ("short", {"max_position_embeddings": 20}),
    ):
        save_encoder(taught / name, TINY, **changes)
    (taught / "chinese" / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    (taught / "roberta").mkdir()
    for file in ("vocab.txt", "model.safetensors"):
        (taught / "roberta" / file).write_bytes((taught / "single" / file).read_bytes())
    (taught / "roberta" / "config.json").write_text('{"architectures": ["RobertaModel"]}')
    assert run("--steps", "1", *argv) == 2
    assert words in complaint(capsys)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--embeddings", "teacher"], "--embeddings teacher: there is none"),
        (["--text_share", "0.5"], "--text_share would do nothing here: it needs --teacher"),
        (["--pair_share", "0.5"], "--pair_share would do nothing"),
        (["--word_weight", "2"], "--word_weight would do nothing"),
        (["--score_weight", "2"], "--score_weight would do nothing here: it needs --pair_share"),
        (["--scored_pairs", "a.csv"], "--scored_pairs would do nothing"),
    ],
)
def test_its_flags_do_nothing_without_it(place: Path, capsys, argv, words) -> None:
    assert run_plain("--steps", "1", *argv) == 2
    assert words in complaint(capsys)


def test_another_teacher_is_no_run_to_go_on_with(taught: Path, capsys) -> None:
    assert run("--steps", "3") == 0
    Path("better").rename("elsewhere")
    assert run("--teacher", "elsewhere", "--steps", "3", "--resume") == 0
    tensors = load_file("elsewhere/model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, "elsewhere/model.safetensors")
    capsys.readouterr()
    assert run("--teacher", "elsewhere", "--steps", "3", "--resume") == 2
    assert "another teacher" in complaint(capsys)
    Path("elsewhere").rename("out/inside")
    assert run("--teacher", "out/inside", "--steps", "3") == 2
    assert "--teacher out/inside: lies in the run's own folder" in complaint(capsys)


@pytest.mark.parametrize("factor", [3e38, 1e30, 0.0])
def test_a_teacher_without_usable_vectors_is_one_line(
    taught: Path, capsys: pytest.CaptureFixture[str], factor: float
) -> None:
    tensors = load_file("better/model.safetensors")
    last = f"encoder.layer.{SHAPE.num_hidden_layers - 1}.output.LayerNorm"
    tensors[f"{last}.weight"] = torch.full_like(tensors[f"{last}.weight"], factor)
    tensors[f"{last}.bias"] = torch.zeros_like(tensors[f"{last}.bias"])
    save_file(tensors, "better/model.safetensors")
    assert run("--steps", "3") == 2
    assert "--teacher better: its vectors" in complaint(capsys)


@pytest.mark.parametrize("flag", ["teacher", "vocab"])
def test_what_it_learns_from_is_never_replaced(taught: Path, capsys, flag: str) -> None:
    folder = {"teacher": "better", "vocab": "vocab"}[flag]
    before = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    assert run("--steps", "1", "--save", f"./{folder}/") == 2
    assert f"--save {folder}: would replace the --{flag}" in complaint(capsys)
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == before


def test_pairs_that_tell_nothing_are_refused_before_the_text_is_read(taught: Path, capsys) -> None:
    write_course_files(taught / "data", rows=30, tasks=["sts"])
    header, *rows = Path("data/sts-dev.csv").read_text().splitlines()
    equal = [row.rsplit("\t", 1)[0] + "\t2.5" for row in rows]
    for lines in ([header, *equal], [header, rows[0]]):
        Path("equal.csv").write_text("\n".join(lines) + "\n")
        assert run("--steps", "1", "--scored_pairs", "equal.csv") == 2
        assert "--scored_pairs equal.csv: all its similarities are equal" in complaint(capsys)
        assert not Path("cache").exists()


def test_sentences_longer_than_a_row_are_counted_and_agreed_on(taught: Path, capsys) -> None:
    """Words for which a row has no room say nothing about whether two vocabularies agree."""
    split = [word for word in PLAIN if len(word) == 4]  # in letters, to the teacher alone
    draw = Random(0)
    documents = [[" ".join(draw.choices(split, k=30))] for _ in range(60)]
    write_documents(Path("text.txt"), documents)
    assert run("--steps", "1", "--sequence_length", "16") == 0
    printed = capsys.readouterr().err
    assert "have more than the 16 tokens of --sequence_length" in printed


def test_pairs_alone_are_enough_to_learn_from(taught: Path) -> None:
    weights = ("--word_weight", "0", "--sentence_weight", "0")
    assert run("--steps", "1", *weights, "--pair_share", "1") == 0
