"""Where the main job runs in these tests, and how it runs in a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from minbert.finetune import cli
from tests.finetune.job.running import MAIN, in_process, make_place, run
from tests.helpers import no_report

Work = Callable[[Path, Sequence[str]], None]
Start = Callable[..., BaseProcess]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a tiny encoder and the course's files in `data/`."""
    make_place(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished_place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A place where the main job with `MAIN` has run, and what it printed on stdout."""
    folder, printed = tmp_path_factory.mktemp("finished"), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(printed):
        patched.chdir(folder)
        patched.setattr(cli, "leave_report", no_report)
        make_place(folder)
        assert run(*MAIN) == 0
    return folder, printed.getvalue()


@pytest.fixture
def ran(
    finished_place: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, str]:
    """A copy of it as the current folder, and what was printed there."""
    shutil.copytree(finished_place[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path, finished_place[1]


@pytest.fixture
def calm(place: Path) -> Path:
    """Without dropout in the encoder."""
    config = place / "encoder" / "config.json"
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps({**json.loads(config.read_text()), **rates}))
    return place


@pytest.fixture
def start(forking: ForkServerContext) -> Iterator[Start]:
    """`start(folder, *argv)`: the command line in a process of its own, and killed at the end."""
    started: list[BaseProcess] = []

    def begin(folder: Path, *argv: str, work: Work = in_process) -> BaseProcess:
        process = forking.Process(target=work, args=(folder, argv))
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()
