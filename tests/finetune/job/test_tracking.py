"""`--track`: the curves are those of the log and of the dev scores, also after a kill."""

from __future__ import annotations

import signal
import socket
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.finetune.job import curves
from tests.finetune.job.conftest import Start
from tests.finetune.job.curves import Curves
from tests.finetune.job.running import MAIN, SHORT, complaint, go_on, manifest, run, steps_logged
from tests.finetune.job.test_kills import killing_itself

_SHARED = ("lr", "grad_norm", "tokens_per_s")


def expected() -> Curves:
    """The curves that the run in out/ must have, from its log and its manifest."""
    found: Curves = {}
    for row in steps_logged():
        for name, value in row.items():
            if name not in ("step", "task"):
                curve = f"train/{name}" if name in _SHARED else f"train/{row['task']}/{name}"
                found.setdefault(curve, []).append((row["step"], value))
    for epoch in manifest()["epochs"]:
        for name, value in {**epoch["scores"], "criterion": epoch["criterion"]}.items():
            found.setdefault(f"dev/{name}", []).append((epoch["step"], value))
    return found


def check(found: Curves) -> None:
    wanted = expected()
    assert found.keys() == wanted.keys()
    for name, points in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points], name
        values, kept = ([value for _, value in each] for each in (points, found[name]))
        np.testing.assert_allclose(kept, values, rtol=1e-6, atol=1e-12)


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is looked up, and no socket is opened but to another process of this machine."""
    real = socket.socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a tracker asked for the network")

    def only_unix(family: int = -1, *more: int, **settings: object) -> socket.socket:
        if family != socket.AF_UNIX:
            refuse()
        return real(family, *more, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", only_unix)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_tensorboard_reads_every_value_of_the_log(
    place: Path, no_socket: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*MAIN, "--track", "tensorboard") == 0
    said = capsys.readouterr()
    assert "to watch: tensorboard --logdir" in said.err
    assert {"train/lr", "train/sst/adversarial", "dev/sts"} <= expected().keys()
    check(curves.tensorboard(Path("out")))


def test_a_killed_run_goes_on_in_the_same_curves(place: Path, start: Start) -> None:
    short = ("--checkpoint_every", "4", "--track", "tensorboard")
    argv = (*SHORT, *MAIN, *short)
    process = start(place, *argv, work=partial(killing_itself, 7, 0.0))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    behind = len(steps_logged())
    assert behind >= 7
    go_on(*MAIN, *short)
    assert len(steps_logged()) > behind
    check(curves.tensorboard(Path("out")))
    # one that was begun without a tracker has all curves from its start
    (place / "out" / "tensorboard").rename(place / "elsewhere")
    go_on(*MAIN, *short)
    check(curves.tensorboard(Path("out")))


def test_an_earlier_runs_curves_are_set_aside_with_it(place: Path) -> None:
    for _ in range(2):
        assert run("--max_steps", "2", "--track", "tensorboard") == 0
    assert len(list((place / "out.old1" / "tensorboard").iterdir())) == 1
    assert len(list((place / "out" / "tensorboard").iterdir())) == 1


def test_a_package_that_is_not_there_is_named_before_anything_is_read(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("minbert.training.trackers.find_spec", lambda _name: None)
    assert run("--track", "trackio") == 2
    assert complaint(capsys).endswith("not installed: pip install trackio")
    assert not (place / "out").exists()


@pytest.mark.slow  # neither is in tests/requirements.txt: they bring forty packages
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_the_other_trackers_keep_the_same_curves(
    name: str, place: Path, no_socket: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name, reason=f"pip install {name}")
    if name == "trackio":
        from trackio import sqlite_storage, utils

        for module in (sqlite_storage, utils):
            monkeypatch.setattr(module, "TRACKIO_DIR", place / "trackio")
    for variable in ("WANDB_MODE", "WANDB_PROJECT", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(variable, raising=False)
    assert run(*MAIN, "--track", name, "--max_steps", "5") == 0
    check(getattr(curves, name)(Path("out")))
    log = Path("out", "log.jsonl").read_text()
    Path("out", "log.jsonl").write_text(log + log.splitlines()[-1])  # as a kill might leave it
    assert run(*MAIN, "--track", name, "--max_steps", "5", "--resume") == 0
    check(getattr(curves, name)(Path("out")))
