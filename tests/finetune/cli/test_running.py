"""A job from the command line: what it prints, how it exits, that it asks for no network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minbert.encoder.config import EncoderConfig
from minbert.finetune import cli
from tests.helpers import ROOT, cache_encoder


def test_results_on_stdout_and_plain_lines_on_stderr(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--weights", "encoder", "--rrobin", "--smart", "--option", "finetune"]
    assert cli.main([*argv, "--epochs", "1", "--output_dir", "out"]) == 0
    printed = capsys.readouterr()
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", printed.err + printed.out) is None
    lines = printed.out.splitlines()
    assert lines[0] == "dev scores of the best epoch (1 of 1)"
    assert [line.split()[0] for line in lines[1:4]] == ["sst", "para", "sts"]
    assert all("  commonest label 0." in line for line in lines[1:4])
    assert lines[6].startswith("padded tokens per real one: sst ")
    assert max(map(len, lines)) <= 80
    assert [line.strip() for line in lines[-6:]] == [
        f"predictions/{task}-{split}-output.csv"
        for task in ("sst", "para", "sts")
        for split in ("dev", "test")
    ]
    first = printed.err.splitlines()[:3]
    assert [line.split(":")[0] for line in first[:2]] == ["data", "weights"]
    assert first[2].startswith("finetune on sst, para, sts in turn (equal)")


def test_settings_in_force_are_said_first(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--weights", "encoder", "--epochs", "1", "--output_dir", "out"]) == 0
    said = capsys.readouterr().err
    for words in ("data/ (the course's files)", "encoder/ (as --weights says)", "rate 0.001"):
        assert words in said
    for words in ("1 epochs", "batch size 8", "seed 11711", "run folder out", "pretrain on sst"):
        assert words in said


def test_defaults_that_leave_much_untrained_are_explained(parse, caplog) -> None:
    def said(*argv: str) -> str:
        caplog.clear()
        with caplog.at_level("INFO", logger="minbert"):
            parse(*argv)
        return caplog.text

    assert "the encoder does not; try --option finetune" in said()
    assert "sst alone trains, and not para, sts; try --rrobin" in said()
    assert "sst alone trains; try --rrobin" in said("--dev_only")
    assert "without --option" not in said("--option", "pretrain")
    assert "without --rrobin" not in said("--rrobin")
    assert "without --rrobin" not in said("--tasks", "sst")


def test_entry_point_exits_with_the_code(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "multitask_classifier.py"), "--bogus"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------- no network

# os._exit: an exception could be caught on its way, by a library that then does without
_WATCHED = """
import os, sys
def hook(event, args):
    if event.startswith("socket."):
        os.write(2, f"{event} {args}".encode())
        os._exit(99)
sys.addaudithook(hook)
from minbert.finetune.cli import main
code = main(sys.argv[2:])
if sys.argv[1] == "then connect":
    import socket
    socket.create_connection(("127.0.0.1", 9))
sys.exit(code)
"""


def watched(place: Path, *argv: str, then: str = "") -> subprocess.CompletedProcess[str]:
    """The real job in a process that dies when anything asks for a socket."""
    kept = {name: it for name, it in os.environ.items() if not name.startswith("HF_")}
    more = {"HF_HOME": str(place / "home"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _WATCHED, then, *argv]
    return subprocess.run(
        command, cwd=place, env={**kept, **more}, capture_output=True, text=True, check=False
    )


def test_the_job_opens_no_socket(place: Path, tiny: EncoderConfig) -> None:
    name, commit = "x/y", "0123456789abcdef0123456789abcdef01234567"
    cache_encoder(place / "home" / "hub", name, commit, tiny)
    argv = ["--weights", name, "--option", "finetune", "--rrobin", "--smart", "--max_steps", "2"]
    done = watched(place, *argv, "--output_dir", "out")
    assert done.returncode == 0, done.stderr
    assert f"({name} at revision {commit}, from the local cache)" in done.stderr
    manifest = json.loads((place / "out" / "manifest.json").read_text())
    assert manifest["published"] == {"name": name, "revision": commit}


def test_nor_where_the_name_is_unknown_and_the_watch_is_awake(place: Path) -> None:
    done = watched(place, "--weights", "no/body", then="then connect")
    assert "download --weights no/body" in done.stderr
    assert done.returncode == 99  # the socket that was asked for after the job had ended
    assert done.stderr.count("socket.") == 1
