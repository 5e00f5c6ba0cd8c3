"""Where the main job runs in these tests, and how it runs in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.finetune.job.running import in_process, make_place

Work = Callable[[Path, Sequence[str]], None]
Start = Callable[..., BaseProcess]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a tiny encoder and the course's files in `data/`."""
    make_place(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
