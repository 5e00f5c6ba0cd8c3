"""What goes wrong in a rank, at a step that is known beforehand; as a script, the main job with it.

Under torchrun the faults stand in the environment, for `--ranks` they travel with the work.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.finetune import cli
from minbert.training import group, loop, run_folder
from tests.helpers import ROOT

FAULTS, _PIDS, _STRUCK = "FAULTS_OF_THE_TESTS", "pids.txt", "struck.txt"
TOLD = {  # of every launcher
    "PYTHONPATH": str(ROOT),
    "GLOO_SOCKET_IFNAME": "lo",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Fault:
    """A signal in a step of a rank, to itself or to its launcher, `delay` seconds after it began.

    `attempt` counts the faults that were before it, each in a life of the group.
    """

    step: int
    number: int = signal.SIGKILL
    rank: int = 0
    attempt: int = 0
    to_launcher: bool = False
    delay: float = 0.0


def install(faults: Sequence[Fault], attempt: int = 0) -> None:
    """Let the faults of this process happen, and write down its number."""
    with Path(_PIDS).open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    place = (int(os.environ["RANK"]), attempt)
    own = {fault.step: fault for fault in faults if (fault.rank, fault.attempt) == place}
    make_step = loop.train_step

    def hit(trainee: Any, step: int, *rest: Any) -> None:
        if step in own:
            threading.Timer(own[step].delay, _strike, [own[step]]).start()
            time.sleep(0.05 if own[step].delay == 0 else 0)
        make_step(trainee, step, *rest)

    loop.train_step, run_folder._PATIENCE = hit, 0.5
    torch.set_num_threads(1)
    group.cores = lambda: 1  # the same number of threads wherever it runs: the same bytes


def _strike(fault: Fault) -> None:
    with Path(_STRUCK).open("a") as stream:
        stream.write(".")
    os.kill(os.getppid() if fault.to_launcher else os.getpid(), fault.number)


def faulty(faults: Sequence[Fault], work: Callable[..., Any], stop: Any) -> Any:
    install(faults)
    return work(stop)


def work_as_rank(
    folder: Path, said: str, told: Mapping[str, str], faults: Sequence[Fault], argv: Sequence[str]
) -> None:
    """The whole life of a process that a launcher on another machine may have started."""
    os.environ.update(told)
    os.chdir(folder)
    with Path(said).open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    install(faults)
    sys.exit(cli.main(argv))


def in_ranks(monkeypatch: pytest.MonkeyPatch, *faults: Fault) -> None:
    """Let the faults happen in the ranks that this process launches."""
    launch = group.launch
    monkeypatch.setattr(
        group, "launch", lambda count, work: launch(count, partial(faulty, faults, work))
    )


def struck(folder: Path) -> int:
    """How many faults have happened."""
    return (folder / _STRUCK).stat().st_size


def last_strike(folder: Path) -> float:
    """When the last fault happened, in seconds as `time.time()` counts them."""
    return (folder / _STRUCK).stat().st_mtime


def all_gone(folder: Path = Path()) -> bool:
    """Whether all ranks are gone, after at most two minutes."""
    last = time.monotonic() + 120
    pids = [int(line) for line in (folder / _PIDS).read_text().split()]
    while any(map(lives, pids)) and time.monotonic() < last:
        time.sleep(0.05)
    return not any(map(lives, pids))


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def agent(
    folder: Path, options: Sequence[str], argv: Sequence[str], *faults: Fault
) -> subprocess.Popen[str]:
    """Torchrun in a folder, over the main job with these faults."""
    told = {**TOLD, FAULTS: json.dumps([asdict(fault) for fault in faults])}
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *options, __file__, *argv],
        cwd=folder,
        env={**os.environ, **told},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def two_agents(port: int) -> list[list[str]]:
    """Torchrun's options on two machines that are both this one, each with its number."""
    common = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1"]
    return [[*common, "--master-port", str(port), "--node-rank", str(n)] for n in (0, 1)]


def two_agents_alike(port: int) -> list[list[str]]:
    """The options on two machines that number themselves, as under Slurm."""
    common = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "7"]
    return [[*common, "--rdzv-endpoint", f"127.0.0.1:{port}"]] * 2


def be_a_rank(faults: Sequence[Fault], argv: Sequence[str] | None = None) -> None:
    """The main job in the current folder, with the faults that have not happened there yet."""
    install(faults, struck(Path()) if Path(_STRUCK).exists() else 0)
    sys.exit(cli.main(argv))


if __name__ == "__main__":
    be_a_rank([Fault(**fault) for fault in json.loads(os.environ[FAULTS])])
