"""The download command: its flags, its lines and exit codes, in this process and in its own."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from huggingface_hub import constants

from minbert.download import __main__ as download
from minbert.download import course_files
from minbert.encoder import hub
from minbert.encoder.config import EncoderConfig
from minbert.encoder.hub import BERT, BERT_REVISION
from minbert.support.errors import InputError, RunError, Stopped
from tests.download import faulty_server as faulty
from tests.download.faulty_server import COMMIT, Server, publish, serving
from tests.download.one_file import SOON
from tests.forked import run_command
from tests.helpers import ROOT, save_encoder

NAME = "someone/tiny-bert"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What would be fetched, in order; nothing is."""
    made: list[str] = []

    def record(what: object, _patience: object) -> str:
        made.append(str(what))
        return f"{what} is there"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "fetch_data", record)
    monkeypatch.setattr(download, "fetch_weights", record)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    return made


@pytest.mark.parametrize(
    ("argv", "fetched"),
    [
        ([], [course_files.BASE, "bert-base-uncased"]),
        (["--data"], [course_files.BASE]),
        (["--data_url", "http://x/y"], ["http://x/y", "bert-base-uncased"]),
        (["--data", "--data_url", "http://x/y"], ["http://x/y"]),
        (["--weights", "bert-base-uncased"], ["bert-base-uncased"]),
        (["--weights", BERT], ["bert-base-uncased"]),
        (["--weights", "x/y"], ["x/y"]),
        (["--weights", "x/y", "--revision", "v1"], ["x/y@v1"]),
        (["--weights", "x/y@v1"], ["x/y@v1"]),
        (["--weights", "bert-base-uncased", "--revision", BERT_REVISION], ["bert-base-uncased"]),
        (["--weights", "x/y", "--data"], [course_files.BASE, "x/y"]),
    ],
    ids=str,
)
def test_the_flags_say_what_is_fetched(
    calls: list[str], capsys: pytest.CaptureFixture[str], argv: list[str], fetched: list[str]
) -> None:
    assert download.main(argv) == 0
    assert calls == fetched
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{what} is there" for what in fetched]
    assert printed.err == ""
    assert constants.HF_HUB_DISABLE_TELEMETRY is True


WRONG = [
    (["--bogus"], "--bogus"),
    (["stray"], "stray"),
    (["--dat"], "--dat"),
    (["--weights"], "--weights"),
    (["--weights", ""], "cannot be the name"),
    (["--weights", "../../etc"], "../../etc: cannot be the name"),
    (["--weights", "/etc/passwd"], "cannot be the name"),
    (["--weights", "a\nb\x1b[31m"], "cannot be the name"),
    (["--weights", "x/y", "--revision", ""], "cannot be a revision"),
    (["--weights", "x/y", "--revision", "../../x"], "cannot be a revision"),
    (["--weights", "x/y@v1", "--revision", "v2"], "names one already"),
    (["--revision", "v1"], "--revision would do nothing"),
    (["--data", "--revision", "v1"], "--revision would do nothing"),
    (["--weights", "x/y", "--data_url", "http://x"], "--data_url would do nothing"),
    (["--data_url", "ftp://x/y"], "http(s)://"),
    (["--data_url", "data"], "http(s)://"),
    (["--data_url", "http://"], "http(s)://"),
    (["--data_url", "http://[::bad/"], "--data_url http://[::bad/"),
    (["--data_url", ""], "http(s)://"),
]


@pytest.mark.parametrize(("argv", "named"), WRONG, ids=[" ".join(argv) for argv, _ in WRONG])
def test_wrong_usage_is_one_line(
    calls: list[str], capsys: pytest.CaptureFixture[str], argv: list[str], named: str
) -> None:
    assert download.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert named in printed.err and printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert re.search(r"[\x00-\x1f\x7f]", printed.err.rstrip("\n")) is None
    assert calls == []


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        download.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("--data", "--weights NAME", "--revision REV", "--data_url URL", "default"):
        assert flag in shown


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("wrong"), 2, "error: wrong"),
        (RunError("broke"), 1, "error: broke"),
        (PermissionError(13, "Permission denied", "data"), 1, "Permission denied"),
        (Stopped(signal.SIGINT), 130, "stopped by SIGINT; the same command goes on"),
        (Stopped(signal.SIGTERM), 143, "SIGTERM"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_codes(
    calls: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    words: str,
) -> None:
    def fail(*_: object) -> str:
        raise error

    monkeypatch.setattr(download, "fetch_data", fail)
    assert download.main([]) == code
    printed = capsys.readouterr()
    assert words in printed.err and printed.err.count("\n") == 1
    stopped = isinstance(error, Stopped)
    assert calls == ([] if stopped else ["bert-base-uncased"])  # the other half is still fetched


def test_both_halves_may_fail(
    calls: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(what: object, _patience: object) -> str:
        raise RunError(f"no {what}")

    monkeypatch.setattr(download, "fetch_data", fail)
    monkeypatch.setattr(download, "fetch_weights", fail)
    assert download.main(["--data_url", "http://x"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "error: no http://x\nerror: no bert-base-uncased\n"
    assert printed.out == ""


# ------------------------------------------------------------------------------ in its own process


@pytest.fixture
def server(tmp_path: Path, tiny: EncoderConfig) -> Iterator[Server]:
    folder = save_encoder(tmp_path / "made", tiny)
    with serving({}) as running:
        running.missing = {"X-Error-Code": "RepoNotFound"}
        publish(running, NAME, {path.name: path.read_bytes() for path in folder.iterdir()})
        yield running


def environment(server: Server, tmp_path: Path) -> dict[str, str]:
    kept = {name: it for name, it in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    more = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    return {**kept, **more, "NO_PROXY": "127.0.0.1"}


def command(forking: ForkServerContext, tmp_path: Path, told: dict[str, str]) -> BaseProcess:
    """`python -m minbert.download --weights` in a process of its own, which writes `said.*`."""
    given = ("minbert.download.__main__", ("--weights", NAME), tmp_path, told, tmp_path / "said")
    process = forking.Process(target=run_command, args=given)
    process.start()
    return process


def ended(process: BaseProcess, tmp_path: Path) -> tuple[int | None, str, str]:
    """Its exit code, its stdout and its stderr."""
    process.join()
    return (process.exitcode, *((tmp_path / f"said.{end}").read_text() for end in ("out", "err")))


def test_a_checkpoint_arrives_where_the_environment_says(
    server: Server, tmp_path: Path, forking: ForkServerContext
) -> None:
    there = environment(server, tmp_path)
    code, out, err = ended(command(forking, tmp_path, there), tmp_path)
    assert code == 0, err
    where = f"weights: {NAME} at revision {COMMIT} is in the local cache"
    assert out == f"{where}; use it with --weights {NAME}\n"
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", err) is None
    assert (tmp_path / "home/hub/models--someone--tiny-bert/refs/main").read_text() == COMMIT
    offline = {**there, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "other")}
    code, out, err = ended(command(forking, tmp_path, offline), tmp_path)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1 and "HF_HUB_OFFLINE" in err


def test_ctrl_c_keeps_a_partial_file_and_the_next_run_goes_on(
    server: Server, tmp_path: Path, forking: ForkServerContext
) -> None:
    path = "/storage/model.safetensors"
    half = len(server.files[path]) // 2
    server.faults[path] = [faulty.stall(0.5, seconds=120)]
    there = environment(server, tmp_path)
    running = command(forking, tmp_path, there)
    blobs = tmp_path / "home/hub/models--someone--tiny-bert/blobs"
    while running.is_alive() and not (
        any(asked == path for asked, _ in server.requests)
        and any(part.stat().st_size for part in blobs.glob(".*.part"))
    ):
        time.sleep(0.02)
    os.kill(running.pid or 0, signal.SIGINT)
    code, out, err = ended(running, tmp_path)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith("stopped by SIGINT; the same command goes on")
    assert "Traceback" not in err
    (part,) = blobs.glob(".*.part")
    kept = part.stat().st_size
    assert 0 < kept <= half
    code, _, err = ended(command(forking, tmp_path, there), tmp_path)
    assert code == 0, err
    assert server.requests[-1] == (path, kept)


# ------------------------------------------------------------------------------------ both at once


def test_a_student_gets_all_with_one_command(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Data and encoder come over HTTP, the first time with faults."""
    monkeypatch.chdir(tmp_path)
    files = {
        name: server.files[f"/{NAME}/resolve/{COMMIT}/{name}"]
        for name in ("config.json", "vocab.txt", "model.safetensors")
    }
    publish(server, BERT, files, BERT_REVISION)
    sha = {name: hashlib.sha256(files[name]).hexdigest() for name in hub.BERT_SHA256}
    monkeypatch.setattr(hub, "BERT_SHA256", sha)
    rows = {name: f"{name}\n".encode() * 99 for name in course_files.FILES}
    server.files |= {f"/data/{name}": content for name, content in rows.items()}
    pins = {name: course_files.Expected(faulty.blob_sha1(it)) for name, it in rows.items()}
    monkeypatch.setattr(course_files, "FILES", pins)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    server.always["/data/sts-dev.csv"] = faulty.corrupt(0.5)
    server.always["/storage/model.safetensors"] = faulty.truncate(0.5)
    argv = ["--data_url", f"{server.url}/data"]
    assert download.main(argv, SOON) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "data/ lacks 1 of the course's 12 files" in printed.err
    assert len(list((tmp_path / "data").glob("*.csv"))) == 11
    assert not (tmp_path / "data/bert-base-uncased").exists()
    server.always.clear()
    assert download.main(argv, SOON) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["data", "weights"]
    assert {path.name for path in (tmp_path / "data").iterdir()} == {*rows, "bert-base-uncased"}
