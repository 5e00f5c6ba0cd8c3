"""What a submission's process is given: the starter's part of the package, without a solution."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from minbert.classroom.closure import files_for
from minbert.classroom.emptying import emptied
from minbert.classroom.marking.tree import libraries, make_base, planted
from minbert.classroom.source import PACKAGE
from minbert.classroom.steps import STEPS

BERT = Path("minbert/encoder/bert.py")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "base"
    make_base(folder, STEPS)
    return folder


def test_the_base_holds_no_solution(base: Path) -> None:
    changed = emptied(STEPS)
    files = [path.relative_to(base) for path in base.rglob("*.py")]
    assert changed.keys() & set(files) >= {BERT}
    for path in files:
        ours = (PACKAGE.parent / path).read_bytes()
        assert (base / path).read_bytes() == changed.get(path, ours)
    names = {path.stem for path in base.rglob("*")}
    assert not names & {"mistakes", "recording", "starter", "detours", "marks", "jail", "warden"}
    assert all(ast.parse((base / path).read_text(encoding="utf-8")) for path in files)


def test_a_students_module_lies_over_ours_and_nothing_compiled_hides_it(
    base: Path, tmp_path: Path
) -> None:
    assert list((base / BERT.parent / "__pycache__").glob("bert.*"))
    new = Path("minbert/mine/new.py")
    with planted(base, tmp_path, {BERT: b"x = 1", new: b"y = 2"}) as tree:
        assert (tree / BERT).read_bytes() == b"x = 1" and (tree / new).read_bytes() == b"y = 2"
        assert not list((tree / BERT.parent / "__pycache__").glob("bert.*"))
        assert list((tree / BERT.parent / "__pycache__").glob("attention.*"))
    assert not tree.exists() and (base / BERT).read_bytes() != b"x = 1"


def test_whoever_runs_the_tree_may_read_it_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_base(tmp_path / "base", STEPS[:1])
        with planted(tmp_path / "base", tmp_path, {Path("minbert/mine/new.py"): b""}) as tree:
            modes = {path.stat().st_mode & 0o777 for path in (tree, *tree.rglob("*"))}
    finally:
        os.umask(before)
    assert modes == {0o755, 0o644}


def test_libraries_are_others() -> None:
    names = libraries()
    assert {"torch", "numpy", "safetensors.torch"} <= set(names)
    assert not [name for name in names if name.startswith("minbert")]


def test_what_a_submission_is_forked_from_knows_no_module_with_a_solution() -> None:
    names = {path.stem for path in files_for(["minbert.classroom.marking.warden"])}
    assert names == {"__init__", "warden", "jail"}
