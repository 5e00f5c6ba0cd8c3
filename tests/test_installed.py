"""The package as pip installs it: its metadata, the command `minbert`, and the files it brings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from minbert.__main__ import COMMANDS, main
from minbert.support import places
from tests.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BUNDLED = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]


def called(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/minbert", *argv])
    return main()


def test_requirements_are_those_of_the_file_but_for_the_pin_of_torch() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    pinned, free = (line for line in (lines[0], PROJECT["project"]["dependencies"][0]))
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+", pinned) and free == "torch>=2.11"
    assert PROJECT["project"]["dependencies"][1:] == lines[1:]


def test_bundled_files_stand_where_they_are_looked_for() -> None:
    for place in (places.SAMPLE, places.BUNDLED_ENCODER):
        source = place.relative_to(ROOT)
        assert place.is_dir() and BUNDLED[source.as_posix()] == f"minbert/bundled/{place.name}"
    assert len(BUNDLED) == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    if find_spec(COMMANDS[name][0].rpartition(".")[0]) is None:
        pytest.skip(f"no {name} in this version")
    try:
        code = called(monkeypatch, name, "--help")
    except SystemExit as ended:
        code = ended.code
    assert code in (0, None)
    said = capsys.readouterr().out
    assert said.startswith("usage: ")
    assert name != "train" or said.startswith("usage: minbert train --option")


def test_all_commands_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, "--help") == 0
    assert re.findall(r"^  (\w+) ", capsys.readouterr().out, re.MULTILINE) == list(COMMANDS)
    for argv in ((), ("trian",)):
        assert called(monkeypatch, *argv) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and ", ".join(COMMANDS) in said


def test_a_commands_exit_code_is_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, "grade", "nowhere") == 2
    assert "nowhere: no such file" in capsys.readouterr().err


# ----------------------------------------------------------------------------- a fresh environment


def run(*command: str | Path, folder: Path = ROOT, code: int = 0) -> str:
    """What a command prints, on both streams; it must end with this exit code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment's folder of programs, with the wheel in it and this one's libraries."""
    folder = tmp_path_factory.mktemp("installed")
    before = tracked_and_not()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    assert tracked_and_not() == before
    (wheel,) = folder.glob("*.whl")
    assert "Requires-Dist: torch>=2.11" in metadata(wheel)
    venv.create(folder / "env", with_pip=False)
    programs = folder / "env" / "bin"
    python = programs / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel)
    ours = sysconfig.get_paths()["purelib"]
    (own,) = (folder / "env" / "lib").glob("python*/site-packages")
    (own / "libraries.pth").write_text(ours)
    return programs


def tracked_and_not() -> list[str]:
    """The files of the clone that git would add or knows to be changed, and the ignored ones."""
    lines = run("git", "status", "--porcelain", "--ignored").splitlines()
    return [line for line in lines if "cache" not in line]


def metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return archive.read(name).decode()


@pytest.mark.slow
def test_a_wheel_in_a_fresh_environment_works_from_any_folder(
    installed: Path, tmp_path: Path
) -> None:
    minbert, python = installed / "minbert", installed / "python"
    job = ("train", "--option", "finetune", "--rrobin", "--limit", "32", "--max_steps", "3")
    said = run(minbert, *job, "--output_dir", "run", folder=tmp_path)
    assert "the bundled synthetic sample" in said and "the bundled encoder" in said
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    for place in (manifest["config"]["weights"], manifest["config"]["sst_dev"]):
        assert Path(place).is_relative_to(installed.parent) and Path(place).exists()
    assert manifest["git"] is None
    page = (tmp_path / "run" / "report.html").read_text()
    assert "--like" in page and "multitask_classifier.py" not in page  # which is not installed
    assert {path.name for path in tmp_path.iterdir()} == {"run", "predictions"}
    printed = run(python, "-c", "import minbert; print(minbert.__file__)", folder=tmp_path)
    assert Path(printed.strip()).is_relative_to(installed.parent)
    lint = ("--lint", "predictions")  # of 32 rows of each file, which is a defect
    for grade in ((minbert, "grade"), (python, "-m", "minbert.grade")):
        said = run(*grade, *lint, folder=tmp_path, code=1)
        assert "468 ids of 500 missing" in said and "minbert/bundled/sample" in said
    assert "  bench  " in run(minbert, "experiments", "--help", folder=tmp_path)
