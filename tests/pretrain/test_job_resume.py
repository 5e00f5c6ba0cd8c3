"""A run of pretraining that was stopped or killed goes on to the same bytes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from minbert.pretrain import objective
from minbert.support.durable_files import draft_of
from minbert.training import group
from tests.pretrain.running import run, weights_of
from tests.pretrain.stopping import assert_same_run, check_stops


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
