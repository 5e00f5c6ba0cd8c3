"""The table of wrong variants: every number says what the text beside it claims."""

from __future__ import annotations

import pytest
import torch

from minbert.experiments import variants
from minbert.experiments.variants import Bench, Measured
from tests.helpers import TINY, save_encoder, write_course_files


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags that name tiny files and a tiny encoder."""
    folder = tmp_path_factory.mktemp("place")
    write_course_files(folder / "data", rows=16)
    torch.manual_seed(0)
    save_encoder(folder / "encoder", TINY, initializer_range=0.3)
    return ["--data_dir", str(folder / "data"), "--weights", str(folder / "encoder")]


@pytest.fixture(scope="module")
def bench(place: list[str]) -> Bench:
    return variants.prepare(place)


def rows(bench: Bench, measure) -> dict[str, Measured]:
    return {row.whose: row for row in measure(bench)}


def test_the_ascent_leaves_its_ball(bench: Bench) -> None:
    free, constant, own = variants.radii(bench)
    assert free.papers == constant.papers == own.papers == pytest.approx(1, abs=1e-9)
    assert 99 < free.variant < 105  # η / ε
    assert constant.variant < free.variant
    assert 0.9e5 < own.variant <= 1e5


def test_embeddings_that_are_embedded_twice_are_another_input(bench: Bench) -> None:
    (row,) = variants.embeddings_twice(bench)
    assert row.papers == 0 < 1e-3 < row.variant


def test_softmaxes_see_nothing(bench: Bench) -> None:
    for row in variants.blind_softmaxes(bench):
        assert row.papers > 1e-6
        assert abs(row.variant) < 1e-12


def test_gradients_are_halved_or_lost(bench: Bench) -> None:
    half, none = variants.lost_gradients(bench)
    assert half.variant == pytest.approx(0.5, abs=0.01)
    assert none.variant == 0


def test_the_term_is_dropouts(bench: Bench) -> None:
    (row,) = variants.dropouts_share(bench)
    assert row.variant > 1e4


def test_reductions_are_no_means_over_examples(bench: Bench) -> None:
    summed, pairs = variants.reductions(bench)
    assert (summed.papers, summed.variant) == pytest.approx((1, 2))
    assert pairs.papers == 0 < pairs.variant


def test_lower_precision_loses_the_direction(bench: Bench) -> None:
    negative, cosine = variants.roundings(bench)
    assert negative.papers == 0 < negative.variant
    assert cosine.papers > 0.999
    assert cosine.variant < 0.9


def test_the_command_prints_a_row_a_measure(
    place: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert variants.main(place) == 0
    title, _, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("### ") and len(lines) == 2 + 13
    assert all(line.startswith("| ") and line.count("|") == 5 for line in lines)


def test_what_the_table_needs_wins_over_what_is_typed(place: list[str]) -> None:
    typed = ["--tasks", "sst", "--limit", "3", "--precision", "fp32", "--option", "pretrain"]
    found = variants.prepare([*place, *typed, "--pooling", "mean"])
    assert {name: len(batch.ids) for name, batch in found.batches.items()} == {
        "sst": 16,
        "para": 16,
        "sts": 16,
    }
    assert found.lowered.lowers_precision and not found.model.lowers_precision


@pytest.mark.parametrize("argv", [["--weights", "nowhere"], ["--compat", "mtdnn"], ["--bogus"]])
def test_wrong_usage_is_one_line(
    place: list[str], capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert variants.main([*place, *argv]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1].startswith("error: ")


def test_help_is_the_commands_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        variants.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python -m minbert.experiments variants [flags]")
    assert "--weights" in shown and "--sts_train" in shown
    for decided in ("--option", "--smart", "--limit", "--cfimdb_dev", "--output_dir"):
        assert decided not in shown


def test_flags_of_the_help_are_taken(place: list[str]) -> None:
    """By the main job too, beside what is decided."""
    flags = ["--seed", "5", "--max_length", "12", "--rlayer", "--readable", "--pooling", "cls"]
    variants.make_parser().parse_args([*place, *flags, "--cross_encoder"])
    assert variants.prepare([*place, *flags, "--cross_encoder"]).batches["sts"].views == 1


def test_what_is_decided_is_refused(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert variants.main([*place, "--limit", "4"]) == 2
    assert "unrecognized arguments: --limit 4" in capsys.readouterr().err
