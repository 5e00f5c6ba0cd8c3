"""Ranks of one machine that are forked from a process with the libraries loaded.

A new interpreter loads them in seconds, and every rank of `--ranks` is one.
"""

from __future__ import annotations

import dataclasses
import os
from multiprocessing.reduction import DupFd
from typing import Any

import pytest
from torch.distributed.launcher import api


class Streams:
    """This process's stdout and stderr: whoever unpickles them writes there, too."""

    def __reduce__(self) -> Any:
        return _write_there, (DupFd(1), DupFd(2))


def _write_there(*handles: Any) -> Streams:
    for number, handle in enumerate(handles, start=1):
        os.dup2(handle.detach(), number)
    return Streams()


def _follow(code: str, folder: str, launcher: int, _streams: Streams) -> None:
    os.chdir(folder)
    os.getppid = lambda: launcher  # not the process that all are forked from
    exec(code, {})  # what a new interpreter would be given


def fork_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `group.launch` fork; a killed launcher leaves such ranks behind."""
    launch = api.elastic_launch

    def forked(config: api.LaunchConfig, _python: str) -> Any:
        config = dataclasses.replace(config, start_method="forkserver")
        told = (os.getcwd(), os.getpid(), Streams())
        return lambda _flag, code: launch(config, _follow)(code, *told)

    monkeypatch.setattr(api, "elastic_launch", forked)
