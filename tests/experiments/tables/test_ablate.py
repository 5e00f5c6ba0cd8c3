"""Ablations: axes are multiplied out, and no row has a flag that does nothing."""

from __future__ import annotations

import itertools
import shlex

import pytest

from minbert.experiments.tables.ablate import PRESETS, AblateConfig, experiment
from minbert.finetune import cli
from minbert.finetune.config import RunConfig
from minbert.support.errors import InputError
from minbert.support.flags import refuse_idle


def names(*axes: str, extra: tuple[str, ...] = ()) -> list[str]:
    return [row.name for row in experiment(axes, extra).rows]


def test_axes_are_multiplied_out() -> None:
    assert names("smart", "pooling=cls,mean") == [
        "--pooling cls",
        "--pooling mean",
        "--smart --pooling cls",
        "--smart --pooling mean",
    ]


def test_what_would_do_nothing_is_left_out_and_equal_rows_are_one() -> None:
    assert names("smart", "smart_lambda=1,5") == [
        "without",
        "--smart --smart_lambda 1",
        "--smart --smart_lambda 5",
    ]


@pytest.mark.parametrize("axes", [*PRESETS.values(), ("smart", "no_bregman", "bregman_mu=1,2")])
def test_every_row_is_a_command_that_the_main_job_takes(axes: tuple[str, ...]) -> None:
    found = experiment(axes)
    for row in found.rows:
        given = vars(cli.make_parser().parse_args(shlex.split(row.commands[0])))
        refuse_idle(RunConfig(**given), given)
    assert len({row.commands for row in found.rows}) == len(found.rows)
    assert found.compared == tuple(
        (row.name, found.rows[0].name) for row in itertools.islice(found.rows, 1, None)
    )


def test_flags_for_all_rows_decide_what_acts() -> None:
    assert names("r3f_lambda=1,5", extra=("--r3f",)) == ["--r3f_lambda 1", "--r3f_lambda 5"]
    assert experiment(["rlayer"], ["--option", "pretrain", "--rrobin"]).rows[0].commands == ("",)


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (["r3f_lambda=1,5"], "it needs --r3f or --r4f"),
        (["smart", "smart_reuse_clean"], "it needs para or sts to train"),
        (["smart", "smart"], "--over smart smart: one axis"),
        (["smrt"], "no flag --smrt"),
        (["pooling"], "write pooling=VALUE"),
        (["smart=1"], "takes no values"),
        (["pooling=cls,"], "an empty value"),
        (["pooling=max"], "invalid choice"),
        (["smart_lambda=-1", "smart"], "must be above 0"),
    ],
)
def test_a_wrong_axis_is_one_line(axes: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        experiment(axes)
    assert "\n" not in str(caught.value)


def test_a_flag_that_may_stand_alone_is_off_and_on() -> None:
    assert names("rrobin") == ["without", "--rrobin"]
    assert names("rrobin=pre,full") == ["--rrobin pre", "--rrobin full"]


def test_rows_are_fine_tuned_unless_something_else_is_said() -> None:
    assert names("int8") == ["without", "--int8"]
    assert names("frozen_dropout", extra=("--option=pretrain",)) == ["without", "--frozen_dropout"]
    (first, _) = experiment(["option=pretrain,finetune"]).rows
    assert first.commands == ("--option pretrain",)


def test_values_may_hold_blanks() -> None:
    (_, second) = experiment(["weights=a,/b c/d"]).rows
    assert shlex.split(second.commands[0])[-2:] == ["--weights", "/b c/d"]


def test_rows_are_named_without_the_dashes_that_would_begin_a_flag() -> None:
    found = experiment(["smart", "smart_lambda=1,5"])
    some = found.only(["without", "smart --smart_lambda 5"])
    assert some.compared == (("--smart --smart_lambda 5", "without"),)
    assert found.only(["--smart --smart_lambda 5"]).rows == some.rows[1:]


def test_axes_or_a_preset_are_needed_and_not_both() -> None:
    with pytest.raises(InputError, match="give --over"):
        AblateConfig()
    with pytest.raises(InputError, match="give --over"):
        AblateConfig(over=("smart",), preset="r3f")
    assert AblateConfig(preset="r3f").axes == PRESETS["r3f"]
