"""The main job on encoders of RoBERTa's and XLM-R's kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.encoder.config import EncoderConfig
from tests.data.other_tokenizers import save_other_encoder
from tests.finetune.job.running import SIX, complaint, go_on, ids_of, ids_predicted, run, written

OTHER = ("--weights", "other")


@pytest.fixture(params=["roberta", "xlm-roberta", "bert"])
def other(place: Path, request: pytest.FixtureRequest) -> Path:
    """A random encoder in `other/`; the last is BERT's with XLM-R's pieces."""
    return save_other_encoder(place / "other", request.param)


@pytest.mark.parametrize(
    "argv",
    [
        ("--option", "finetune", "--rrobin", "--smart", "--rlayer"),
        ("--option", "finetune", "--rrobin", "--r4f", "--cross_encoder", "--pooling", "mean"),
        ("--option", "finetune", "--freelb", "--rrobin", "--int8"),
        ("--rrobin",),
    ],
)
def test_the_main_job(other: Path, argv: tuple[str, ...]) -> None:
    """Every row is predicted; the encoder's second token type is not missed."""
    assert run(*OTHER, *argv, "--epochs", "1") == 0
    files = written()
    for name, content in files.items():
        task, split, _ = name.split("-")
        source = {"sst": "ids-sst", "para": "quora", "sts": "sts"}[task]
        ending = "-student" if split == "test" else ""
        path = Path("data") / f"{source}-{split}{ending}.csv"
        assert ids_predicted(content) == ids_of(path), name
    assert set(files) == set(SIX)


def test_two_runs_are_one_and_resume_finds_it(other: Path) -> None:
    argv = (*OTHER, "--option", "finetune", "--rrobin", "--epochs", "1")
    assert run(*argv) == 0
    first = written()
    go_on(*argv)
    assert written() == first


def test_the_longest_text(other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """RoBERTa's positions begin after the padding's, so it reads two tokens less."""
    longest = EncoderConfig.from_file(other / "config.json").longest
    assert run(*OTHER, "--max_length", str(longest + 1), "--tasks", "sst") == 2
    assert f"the encoder has {longest} positions" in complaint(capsys)
    assert run(*OTHER, "--max_length", str(longest), "--tasks", "sst", "--epochs", "1") == 0


def test_pretraining_goes_on_with_bert_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from minbert.pretrain import __main__ as pretrain

    save_other_encoder(place / "other", "roberta")
    Path("text.txt").write_text("The film is good.\nThe film is bad.\n\n" * 50)
    argv = ["--text", "text.txt", "--weights", "other", "--steps", "1", "--save", "new"]
    assert pretrain.main(argv) == 2
    assert "model_type 'roberta'" in complaint(capsys)
