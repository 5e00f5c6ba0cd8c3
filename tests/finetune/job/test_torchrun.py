"""Under torchrun: killed ranks come back by themselves, two machines are one, a loss is told."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from torch.distributed import run as torchrun

from tests.finetune.job import faults as module
from tests.finetune.job.faults import (
    FAULTS,
    ROOT,
    TOLD,
    Fault,
    agent,
    all_gone,
    be_a_rank,
    last_strike,
    struck,
    two_agents,
    two_agents_alike,
    work_as_rank,
)
from tests.finetune.job.running import SHORT, SIX, make_place, run, steps_logged, written
from tests.forked import fork_ranks, fork_torchruns_ranks

FLAGS = ("--option", "finetune", "--rrobin", "--batch_size", "5", "--checkpoint_every", "3")
JOB = (*SHORT, *FLAGS)
STEPS = 18
ONE_MACHINE = ("--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0")
GONE = "error: another rank, or its machine, is gone; the same command with --resume goes on"


def ended(*agents: subprocess.Popen[str]) -> list[str]:
    """What the agents and their ranks have said, once they have ended."""
    try:
        return [one.communicate(timeout=900)[0] for one in agents]
    finally:
        for one in agents:
            one.kill()


def ours(said: str) -> list[str]:
    """Our own lines of errors."""
    return [line for line in said.splitlines() if line.startswith(("error: ", "stopped by "))]


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@pytest.fixture(scope="module")
def whole(forking: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The predictions of the job by two ranks in peace."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        fork_ranks(patched)
        patched.chdir(folder)
        make_place(folder)
        assert run(*FLAGS, "--ranks", "2") == 0
        assert len(steps_logged()) == STEPS
        return written()


def kills(count: int) -> list[Fault]:
    """A rank is killed in every life of the group but the last: before a checkpoint, at random."""
    draw = random.Random(count)
    step, faults = draw.randrange(3), []
    for attempt in range(count):
        step = draw.randrange(step - step % 3, STEPS) if attempt else step
        fault = Fault(step, rank=draw.randrange(2), attempt=attempt, delay=draw.uniform(0, 0.02))
        faults.append(fault)
    return faults


def check_went_on(place: Path, whole: dict[str, bytes], kills: int, said: str) -> None:
    """All is there that would be there without the kills, and the log tells of each."""
    assert written(place / "predictions") == whole and set(whole) == set(SIX)
    assert [line["step"] for line in steps_logged(place / "out")] == list(range(STEPS))
    assert not list(place.glob("out.old*")) and all_gone(place)
    assert said.count("resumed at step") + said.count("starting afresh") >= kills
    assert struck(place) == kills


@pytest.mark.slow
def test_killed_ranks_come_back_and_end_in_the_same_bytes(
    place: Path,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """By torchrun's own command line and agent, in this process, over ranks that are forked."""
    fork_torchruns_ranks(monkeypatch, TOLD, partial(be_a_rank, kills(2), JOB))
    torchrun.main([*ONE_MACHINE, "--max-restarts", "2", module.__file__, *JOB])
    check_went_on(place, whole, 2, capfd.readouterr().err)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machines", [1, 2])
def test_ranks_killed_many_times_end_in_the_same_bytes(
    place: Path, whole: dict[str, bytes], machines: int
) -> None:
    """By torchrun as it is typed, with interpreters of their own."""
    each = [ONE_MACHINE] if machines == 1 else two_agents_alike(free_port())
    again = ("--max-restarts", "20")
    agents = [agent(place, (*options, *again), JOB, *kills(20)) for options in each]
    said = "\n".join(ended(*agents))
    assert [one.returncode for one in agents] == [0] * len(agents), said
    check_went_on(place, whole, 20, said)


@pytest.mark.slow
def test_torchrun_that_is_stopped_leaves_a_checkpoint(place: Path, whole: dict[str, bytes]) -> None:
    """As Slurm stops it before a time limit; the same command with --resume goes on."""
    fault = Fault(7, signal.SIGTERM, to_launcher=True)
    ended(agent(place, ONE_MACHINE, JOB, fault))
    assert 7 < len(steps_logged()) < STEPS and all_gone(place)
    assert not list(place.glob("predictions/*"))
    ended(agent(place, ONE_MACHINE, (*JOB, "--resume")))
    assert written() == whole and [line["step"] for line in steps_logged()] == list(range(STEPS))


@pytest.mark.slow  # the job script's test has two machines, too
def test_two_machines_are_one(place: Path, whole: dict[str, bytes]) -> None:
    said = ended(*(agent(place, options, JOB) for options in two_agents(free_port())))
    assert written() == whole, said
    assert sum(text.count("epoch 1: dev") for text in said) == 1


SCRIPT = ROOT / "docs" / "slurm.sh"
# srun without its own flags, as two machines would run it, and the name of the first of them
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
"$@" & one=$!
"$@" & two=$!
wait $one; first=$?
wait $two && exit $first
"""
COMMANDS = {"srun": SRUN, "scontrol": "#!/bin/bash\necho 127.0.0.1\necho other\n"}


def slurm(folder: Path) -> dict[str, str]:
    """What the job script finds in its environment on two machines that are both this one."""
    commands = folder / "commands"
    commands.mkdir()
    for name, text in COMMANDS.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    path = os.pathsep.join((str(commands), str(Path(sys.executable).parent), os.environ["PATH"]))
    job = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "RANKS_PER_NODE": "1"}
    return {**os.environ, **TOLD, **job, "PATH": path, "SLURM_JOB_ID": str(job_with_free_port())}


def job_with_free_port() -> int:
    """A job's number that the script makes a free port of."""
    for number in itertools.count(70_000):
        with socket.socket() as door:
            if door.connect_ex(("127.0.0.1", 29400 + number % 1000)) != 0:
                return number
    raise AssertionError


@pytest.mark.slow
def test_the_job_script_trains_on_two_machines_and_comes_back_after_kills(
    place: Path, whole: dict[str, bytes]
) -> None:
    """Its torchrun line, with two agents that number themselves."""
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0
    assert (ROOT / "multitask_classifier.py").exists()
    (place / "multitask_classifier.py").write_text(
        f"import runpy\nrunpy.run_path({module.__file__!r}, run_name='__main__')\n"
    )
    faults = (Fault(7, rank=1), Fault(10, attempt=1))
    told = {**slurm(place), FAULTS: json.dumps([asdict(fault) for fault in faults])}
    command = ["bash", str(SCRIPT), *JOB]
    done = subprocess.run(command, cwd=place, env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert written() == whole and struck(place) == 2 and all_gone(place)
    assert all(f"resumed at step {step} of 18" in done.stderr for step in (6, 9))


def together(
    forking: ForkServerContext,
    folders: Sequence[Path],
    *faults: Fault,
    flags: Sequence[str] = (),
    restarts: int = 0,
) -> list[tuple[int | None, str]]:
    """How ranks end, each in its folder as on a machine of its own, and what they have said."""
    world, ranks = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}, []
    for number, folder in enumerate(folders):
        told = {**TOLD, **world, "RANK": str(number), "WORLD_SIZE": str(len(folders))}
        told["TORCHELASTIC_RESTART_COUNT"] = str(restarts)
        work = partial(work_as_rank, folder, f"said by {number}.txt", told, faults)
        ranks.append(forking.Process(target=work, args=((*JOB, *flags),)))
        ranks[-1].start()
    for rank in ranks:
        rank.join(300)
        rank.kill()
    said = [(f / f"said by {n}.txt").read_text() for n, f in enumerate(folders)]
    return [(rank.exitcode, text) for rank, text in zip(ranks, said, strict=True)]


def test_ranks_that_are_started_again_end_in_the_same_bytes(
    place: Path, whole: dict[str, bytes], forking: ForkServerContext
) -> None:
    """As torchrun starts them, by the same command, when one was killed."""
    for restarts, fault in enumerate((Fault(1), Fault(7, rank=1))):
        lost = together(forking, [place, place], fault, restarts=restarts)
        assert lost[fault.rank][0] == -signal.SIGKILL and lost[1 - fault.rank][0] == 1
    (code, said), (other, _) = together(forking, [place, place], restarts=2)
    assert code == other == 0 and f"resumed at step 6 of {STEPS}" in said
    assert written(place / "predictions") == whole and struck(place) == 2
    assert [line["step"] for line in steps_logged(place / "out")] == list(range(STEPS))
    assert not list(place.glob("out.old*"))


def test_a_rank_that_is_gone_ends_the_other(place: Path, forking: ForkServerContext) -> None:
    """The one that goes is the first, in which the group's common memory was."""
    ended = together(forking, [place, place], Fault(4), flags=("--epochs", "500"))
    assert time.time() - last_strike(place) < 60
    assert [code for code, _ in ended] == [-signal.SIGKILL, 1] and ours(ended[1][1]) == [GONE]


def test_a_folder_that_a_rank_does_not_see_is_told_once(
    place: Path, tmp_path_factory: pytest.TempPathFactory, forking: ForkServerContext
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    make_place(elsewhere)
    ended = together(forking, [place, elsewhere])
    assert [code for code, _ in ended] == [1, 2]
    check_not_shared(place, [line for _, said in ended for line in ours(said)])


def check_not_shared(place: Path, lines: Sequence[str]) -> None:
    assert len(lines) == 1 and "does not see what rank 0 writes there" in lines[0], lines
    assert lines[0].startswith("error: --output_dir out: rank 1, on ")
    assert not (place / "out").exists() or not any((place / "out").iterdir())


@pytest.mark.slow
def test_a_machine_that_is_gone_ends_the_others(place: Path) -> None:
    """The one that goes is the first, on which the group's common memory was."""
    first, second = two_agents(free_port())
    fault = Fault(4, to_launcher=True)
    one, other = agent(place, first, JOB, fault), agent(place, second, (*JOB, "--epochs", "500"))
    _, said = ended(one, other)
    assert time.time() - last_strike(place) < 60
    assert ours(said) == [GONE] and other.returncode == 1
    assert said.index(GONE) < said.index("ChildFailedError")
    assert one.returncode == -signal.SIGKILL and all_gone(place)


@pytest.mark.slow
def test_a_folder_that_is_not_shared_is_told_once(place: Path, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    make_place(elsewhere)
    folders: Sequence[Path] = (place, elsewhere)
    options = two_agents(free_port())
    agents = [agent(f, o, JOB) for f, o in zip(folders, options, strict=True)]
    said = ended(*agents)
    lines = [line for text in said for line in ours(text)]
    check_not_shared(place, lines)
    (text,) = (text for text in said if lines[0] in text)
    assert text.index(lines[0]) < text.index("ChildFailedError")  # the launcher's own report
    assert [one.returncode for one in agents] == [1, 1]  # and its exit code
