"""What the main job never destroys."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from minbert.finetune import cli, job
from minbert.tasks import predictions
from minbert.training.run_folder import held
from tests.finetune.job.conftest import Start
from tests.finetune.job.running import (
    COURSE_TASKS,
    MAIN,
    SHORT,
    SIX,
    complaint,
    go_on,
    in_process,
    manifest,
    run,
    spoil_after,
    written,
)
from tests.helpers import no_report, rest_slow


@pytest.mark.parametrize("look", [("--limit", "10"), ("--max_steps", "1")], ids=" ".join)
def test_a_quick_look_leaves_the_files_of_a_long_run(
    place: Path, capsys: pytest.CaptureFixture[str], look: tuple[str, str]
) -> None:
    assert run() == 0
    whole = written()
    capsys.readouterr()
    for resumed in ([], ["--resume"]):
        assert run(*look, "--output_dir", "look", "--lr", "1e-2", *resumed) == 0
        printed = capsys.readouterr()
        words = f"a quick look ({look[0]}) leaves them, and writes into predictions-quick/"
        assert words in printed.err
        assert "  predictions-quick/sst-dev-output.csv" in printed.out
        assert written() == whole
        assert set(written(Path("predictions-quick"))) == set(whole)
    assert run("--limit", "4", "--output_dir", "shorter") == 0  # over the longer look's files


def test_a_quick_look_that_was_the_first_goes_on_where_it_wrote(place: Path) -> None:
    look = ("--max_steps", "1", "--output_dir", "look")
    assert run(*look) == 0
    for name in SIX[1:]:
        Path("predictions", name).unlink()  # as after a kill in between
    go_on(*look)
    assert set(written()) == set(SIX)
    assert not Path("predictions-quick").exists()


def test_limit_never_replaces_a_larger_file_that_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [f"--{t}_{s}_out=mine/{t}-{s}.csv" for t in COURSE_TASKS for s in ("dev", "test")]
    for places in (["--predictions_dir", "mine"], named):
        assert run(*places) == 0
        whole = written(Path("mine"))
        capsys.readouterr()
        assert run("--limit", "10", *places) == 2
        line = complaint(capsys)
        assert "holds 16 predictions" in line and "--limit 10" in line
        assert "another place with --predictions_dir" in line
        assert written(Path("mine")) == whole


def test_failing_run_leaves_the_old_predictions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    before = written()
    capsys.readouterr()
    assert run("--option", "finetune", "--lr", "1e38") == 1
    line = complaint(capsys)
    assert line.startswith("error: step ") and "Example ids: sst" in line
    assert written() == before
    assert manifest()["status"].startswith("failed: step ")


def test_a_write_that_fails_halfway_leaves_each_file_whole(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    before = written()
    render, calls = predictions.render, []

    def full_disk(*arguments) -> str:
        calls.append(0)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return render(*arguments)

    monkeypatch.setattr(predictions, "render", full_disk)
    capsys.readouterr()
    assert run("--option", "finetune") == 1
    assert "No space left" in complaint(capsys)
    after = written()
    assert after.keys() == before.keys()
    assert sum(after[name] == before[name] for name in SIX) >= 4
    monkeypatch.undo()
    os.chdir(place)
    go_on("--option", "finetune")
    assert manifest()["status"] == "finished"


def test_output_that_cannot_be_written_is_said_before_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "folder.csv").mkdir()
    (place / "file").write_text("")
    for path in ("folder.csv", "file/a.csv"):
        assert run("--sts_test_out", path) == 2
        assert f"--sts_test_out {path}" in complaint(capsys)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sst_dev_out", "data/ids-sst-dev.csv"], "the run reads this file"),
        (["--sst_dev_out", "encoder/config.json"], "the run reads this file"),
        (["--sst_dev_out", "p/x.csv", "--sts_dev_out", "p/../p/x.csv"], "names the same file"),
        (["--sst_dev_out", "out/manifest.json"], "lies in the run's own folder"),
        (["--sst_dev_out", "thesis.txt"], "holds something else than predictions"),
        (["--sst_dev_out", "fifo"], "holds something else than predictions"),
        (["--sst_dev_out", "link"], "holds something else than predictions"),
        (["--sst_dev_out", "x" * 250], "cannot be written"),
        (["--sst_dev_out", ""], "names no file"),
        (["--sst_dev_out", "."], "names no file"),
    ],
)
def test_nothing_but_predictions_is_ever_written_over(
    place: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    (place / "thesis.txt").write_text("years of work")
    (place / "link").symlink_to("thesis.txt")
    os.mkfifo(place / "fifo")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert run(*flags) == 2
    assert words in complaint(capsys)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_full_disk_at_the_end_leaves_all_old_predictions(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--seed", "1") == 0
    before = written()
    write, calls = Path.write_text, iter(range(100))

    def disk_full(path: Path, text: str, **settings: str) -> int:
        if path.parent.name == "predictions" and next(calls) == 3:
            raise OSError(28, "No space left on device")
        return write(path, text, **settings)

    monkeypatch.setattr(Path, "write_text", disk_full)
    assert run("--seed", "2") == 1
    assert written() == before


def test_weights_that_are_no_numbers_never_become_predictions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*MAIN, "--lr", "1e38", "--max_steps", "1") == 1
    assert "predictions are not finite" in capsys.readouterr().err
    assert not (place / "predictions").exists()
    assert not list((place / "out").glob("best-*"))


def test_earlier_run_is_moved_aside_not_overwritten(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = []
    for seed in ("1", "2", "3"):
        assert run("--seed", seed) == 0
        kept.append((Path("out") / "manifest.json").read_bytes())
    assert (place / "out.old1" / "manifest.json").read_bytes() == kept[0]
    assert (place / "out.old2" / "manifest.json").read_bytes() == kept[1]
    assert manifest()["config"]["seed"] == 3
    assert "out held an earlier run, which is now in" in capsys.readouterr().err


def test_folder_of_something_else_is_left_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "out").mkdir()
    (place / "out" / "thesis.tex").write_text("years of work")
    assert run() == 2
    assert "out: holds something else than a run" in complaint(capsys)
    assert [path.name for path in (place / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_second_run_in_a_folder_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], resume: list[str]
) -> None:
    assert run() == 0
    before = (written(), (place / "out" / "manifest.json").read_bytes())
    capsys.readouterr()
    with held(place / "out"):
        assert run(*resume) == 2
    assert "out: another run is using it" in complaint(capsys)
    assert (written(), (place / "out" / "manifest.json").read_bytes()) == before


def in_little_memory(megabytes: int, folder: Path, argv: Sequence[str]) -> None:
    """`in_process`, with no more address space than it has already and `megabytes` more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    in_process(folder, argv)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("megabytes", [1, 4, 11, 23])
def test_memory_that_runs_out_is_one_line_wherever_it_does(
    place: Path, start: Start, megabytes: int
) -> None:
    process = start(place, *MAIN, *SHORT, work=partial(in_little_memory, megabytes))
    process.join()
    said = (place / "printed.txt").read_text()
    if process.exitcode == 0:
        pytest.skip("this machine needs less memory")
    assert process.exitcode == 1, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: out of memory (")


STREAMS: dict[str, Callable[[], None]] = {
    "both full": lambda: (lead(1, "/dev/full"), lead(2, "/dev/full")),
    "all closed": lambda: (close(0), close(1), close(2)),
    "ASCII": lambda: lead(1, "ascii.txt", encoding="ascii"),
    "readers gone": lambda: (break_pipe(1), break_pipe(2)),
    "stdout full": lambda: lead(1, "/dev/full"),
    "stderr full": lambda: lead(2, "/dev/full"),
    "stdout closed": lambda: close(1),
    "stderr closed": lambda: close(2),
    "reader gone": lambda: break_pipe(1),
}
_WITH_REPORT = ("both full", "all closed", "readers gone")  # where nothing can be said


def lead(number: int, path: str, encoding: str = "utf-8") -> None:
    """Lead a standard stream elsewhere, as a shell does before Python begins."""
    lead_to(number, os.open(path, os.O_WRONLY | os.O_CREAT), encoding)


def lead_to(number: int, handle: int, encoding: str = "utf-8") -> None:
    os.dup2(handle, number)
    os.close(handle)
    stream = os.fdopen(number, "w", encoding=encoding, closefd=False)
    setattr(sys, ("stdin", "stdout", "stderr")[number], stream)


def close(number: int) -> None:
    os.close(number)
    setattr(sys, ("stdin", "stdout", "stderr")[number], None)


def break_pipe(number: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    lead_to(number, writer)


def with_streams(kind: str, folder: Path, argv: Sequence[str]) -> None:
    """The main job as a process whose standard streams are of a kind, and its exit code."""
    os.chdir(folder)
    torch.set_num_threads(1)
    STREAMS[kind]()
    if kind not in _WITH_REPORT:
        cli.leave_report = no_report
    code = cli.main(argv)
    flushed = [stream.flush() for stream in (sys.stdout, sys.stderr)]  # as Python does when it ends
    os._exit(code if flushed else 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("kind", rest_slow(4, STREAMS))
def test_streams_that_cannot_be_written_cost_no_result(
    place: Path, start: Start, kind: str
) -> None:
    argv = ("--option", "finetune", "--rrobin", *SHORT, "--epochs", "1")
    argv = (*argv, "--sts_dev_out", "predictions/sts-dév.csv")
    process = start(place, *argv, work=partial(with_streams, kind))
    process.join()
    assert process.exitcode == 0
    assert manifest()["status"] == "finished"
    assert len(written()) == 6
    for name in ("manifest.json", "log.jsonl", "bad_rows.jsonl"):  # no stream's number was reused
        assert all(line[0] in '{} ]"' for line in (Path("out") / name).read_text().splitlines())
    if kind == "ASCII":
        assert "sts-d\\xe9v.csv" in (place / "ascii.txt").read_text()


@pytest.mark.parametrize("step", [0, 1, 7, 12])
def test_a_run_folder_that_is_moved_away_is_never_made_again(
    place: Path,
    finished_place: tuple[Path, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """Half a run that looks whole would stand in its place; put back, the run goes on."""
    expected = written(finished_place[0] / "predictions")

    def moved_away(*_: object) -> None:
        Path("out").rename("elsewhere")

    with monkeypatch.context() as patched:
        if step:
            spoil_after(patched, step, moved_away)
        else:
            patched.setattr(job, "keep_encoder_files", moved_away)
        capsys.readouterr()
        assert run(*MAIN, "--checkpoint_every", "2") == 1
    assert "out: was moved or removed while this run worked" in capsys.readouterr().err
    assert not Path("out").exists()
    Path("elsewhere").rename("out")
    if step >= 2:
        go_on(*MAIN, "--checkpoint_every", "2")
    else:  # nothing had been saved
        assert run(*MAIN, "--checkpoint_every", "2", "--resume") == 0
    assert written() == expected and manifest()["status"] == "finished"
