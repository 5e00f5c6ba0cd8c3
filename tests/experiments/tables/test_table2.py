"""The published tables as data: their figures, and pairs that differ by their method only."""

from __future__ import annotations

import shlex

import pytest

from minbert.experiments.grid.experiment import SECONDS
from minbert.experiments.tables import seeds, table1, table2
from minbert.finetune import cli

FIGURES = """
pretrain default            .396 .380 .019     9
finetune default            .525 .522 .240    25
finetune smart              .520 .501 .382   161
finetune rrobin             .524 .726 .583    67
finetune rrobin+smart       .532 .741 .680   464
finetune rrobin-pre+smart   .519 .851 .690  3037
finetune rrobin-full        .498 .863 .762  1420
finetune rrobin-full+smart  .485 .850 .714  4549
finetune rrobin-full+rlayer .501 .867 .802  1550
"""


def given(command: str) -> dict[str, object]:
    return vars(cli.make_parser().parse_args(shlex.split(command)))


@pytest.mark.parametrize("mode", [table2.MATCHED, table2.AS_PUBLISHED])
def test_the_posters_figures_stand_beside_its_rows(mode: str) -> None:
    rows = [row for row in table2.experiment(mode).rows if row.published]
    shown = [
        " ".join(
            [row.name, *(f"{row.published[key]:g}" for key in ("sst", "para", "sts", SECONDS))]
        )
        for row in rows
    ]
    typed = [line.split() for line in FIGURES.split("\n")[1:-1]]
    expected = [
        " ".join([*line[:2], *(f"{float(number):g}" for number in line[2:])]) for line in typed
    ]
    assert shown == expected
    assert [row.published["cfimdb"] for row in table1.experiment().rows] == [0.788, 0.963]


@pytest.mark.parametrize("mode", [table2.MATCHED, table2.AS_PUBLISHED])
def test_a_name_says_what_a_row_does(mode: str) -> None:
    for row in table2.experiment(mode).rows:
        flags = given(row.commands[0])
        assert flags["option"] == row.name.split()[0]
        assert ("smart" in row.name) == ("smart" in flags)
        assert ("rrobin" in row.name) == ("rrobin" in flags)
        assert ("rlayer" in row.name) == ("rlayer" in flags)
        assert flags.get("rrobin", "equal") in row.name + "equal"


def test_matched_rows_share_what_the_method_does_not_say() -> None:
    def shared(mode: str) -> set[tuple[object, ...]]:
        flags = [given(row.commands[0]) for row in table2.experiment(mode).rows]
        return {(own.get("batch_size"), own.get("clip"), own.get("lr")) for own in flags}

    assert len(shared(table2.MATCHED)) == 1
    assert shared(table2.AS_PUBLISHED) == {(64, None, None), (16, 1, None), (16, None, None)}


def test_as_published_is_what_the_posters_code_does() -> None:
    for row in table2.experiment(table2.AS_PUBLISHED).rows:
        flags, rrobin = given(row.commands[0]), "rrobin" in row.name
        assert flags["batch_size"] == (16 if "smart" in row.name or "16" in row.name else 64)
        assert flags.get("clip") == (1 if "smart" in row.name else None)
        assert flags.get("bregman_dropout") == ("independent" if "smart" in row.name else None)
        assert flags.get("sts_scale") == (1 if rrobin else None)
        assert ("epoch_rows" in flags) == (rrobin and "full" not in row.name)
        assert ("rlayer_activation" in flags) == ("rlayer" in row.name)
        cli.parse([*shlex.split(row.commands[0]), "--data_dir", "data/sample"])  # no flag is idle


def test_smart_is_compared_with_a_row_that_has_its_batches() -> None:
    table = table2.experiment(table2.AS_PUBLISHED)
    control = next(row for row in table.rows if not row.published)
    assert ("finetune rrobin+smart", control.name) in table.compared
    one, other = (
        given(next(row for row in table.rows if row.name == name).commands[0])
        for name in ("finetune rrobin+smart", control.name)
    )
    assert set(one.items()) - set(other.items()) == {
        *{"smart": True, "clip": 1.0, "bregman_dropout": "independent"}.items()
    }


def test_where_the_rows_differ_beyond_their_names_is_said() -> None:
    (of_seconds,) = table2.experiment(table2.MATCHED).notes  # whose ratios are of two batch sizes
    assert "batches of 16 where the others had 64: its seconds" in of_seconds
    notes = table2.experiment(table2.AS_PUBLISHED).only(["finetune smart"]).notes
    assert "batches of 16" in notes[0]
    assert table1.experiment().shared == "--batch_size 64"


def test_only_rows_that_are_there_are_compared() -> None:
    for one in (table1.experiment(), table2.experiment(), seeds.experiment()):
        names = [row.name for row in one.rows]
        assert len(set(names)) == len(names)
        assert {name for pair in one.compared for name in pair} <= set(names)
    some = table2.experiment().only(["finetune rrobin", "finetune rrobin+smart"])
    assert some.compared == (("finetune rrobin+smart", "finetune rrobin"),)
