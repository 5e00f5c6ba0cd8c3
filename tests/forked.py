"""Ranks, commands and cells of grids, forked from a process that has loaded the libraries.

A new interpreter loads them in seconds, and every rank of `--ranks` is one.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import run as torchrun
from torch.distributed.launcher import api

from minbert.experiments.faults import grids
from minbert.experiments.grid.cell import LOG
from minbert.experiments.grid.cells import Cell

_READ_ANEW = {"minbert", "huggingface_hub"}


class Streams:
    """This process's stdout and stderr: whoever unpickles them writes there, too."""

    def __reduce__(self) -> Any:
        return _write_there, (DupFd(1), DupFd(2))


def _write_there(*handles: Any) -> Streams:
    for number, handle in enumerate(handles, start=1):
        os.dup2(handle.detach(), number)
    return Streams()


def _follow(code: str, folder: Path, launcher: int, _streams: Streams) -> None:
    os.chdir(folder)
    os.getppid = lambda: launcher  # not the process that all are forked from
    exec(code, {})  # what a new interpreter would be given


def fork_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `group.launch` fork; a killed launcher leaves such ranks behind."""
    launch = api.elastic_launch

    def forked(config: api.LaunchConfig, _python: str) -> Any:
        config = dataclasses.replace(config, start_method="forkserver")
        told = (Path.cwd(), os.getpid(), Streams())
        return lambda _flag, code: launch(config, _follow)(code, *told)

    monkeypatch.setattr(api, "elastic_launch", forked)


def fork_torchruns_ranks(
    monkeypatch: pytest.MonkeyPatch, told: Mapping[str, str], work: Callable[[], None]
) -> None:
    """Let torchrun's `main` do `work` in its ranks, which know what they are `told`.

    They are forked in the current folder, and write where this process does.
    """
    launch = api.elastic_launch

    def forked(config: api.LaunchConfig, entrypoint: str) -> Any:
        config = dataclasses.replace(config, start_method="forkserver")
        place = (Path.cwd(), os.getpid(), Streams())
        return lambda *_command: launch(config, _be_a_rank)(told, work, *place)

    monkeypatch.setattr(torchrun, "elastic_launch", forked)


def _be_a_rank(
    told: Mapping[str, str], work: Callable[[], None], folder: Path, launcher: int, _: Streams
) -> None:
    os.environ.update(told)
    os.chdir(folder)
    os.getppid = lambda: launcher  # not the process that all are forked from
    work()


def run_command(
    module: str, argv: Sequence[str], folder: Path, environment: Mapping[str, str], said: Path
) -> None:
    """The whole life of a process that was started as a command, in a `folder`.

    What reads the environment when it is loaded is loaded anew. Its stdout and stderr go to files.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.partition(".")[0] in _READ_ANEW]:
        del sys.modules[name]
    for number, ending in ((1, ".out"), (2, ".err")):
        with said.with_suffix(ending).open("w") as stream:
            os.dup2(stream.fileno(), number)
    sys.exit(importlib.import_module(module).main(argv))


class ForkedCell(grids.Forked):
    """A cell's process, with the interface that a grid's runner expects."""

    def __init__(
        self, forking: ForkServerContext, cell: Cell, out: Path, _threads: int = 1
    ) -> None:
        cell.folder(out).mkdir(parents=True, exist_ok=True)
        self._process = forking.Process(target=_be_a_cell, args=(cell, out, os.getpid()))
        self._process.start()


def _be_a_cell(cell: Cell, out: Path, parent: int) -> None:
    os.setsid()
    os.getppid = lambda: parent  # not the process that all are forked from
    with (cell.folder(out) / LOG).open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    arguments = [str(out), json.dumps(dataclasses.asdict(cell)), str(parent)]
    sys.exit(importlib.import_module(cell.module).main(arguments))
