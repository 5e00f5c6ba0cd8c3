"""The starter: refilled it is ours, no file of it gives a hole away, and it says where it ends."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from minbert.classroom.__main__ import main
from minbert.classroom.detours import DETOURS
from minbert.classroom.emptying import emptied
from minbert.classroom.mistakes import standing_in
from minbert.classroom.source import (
    PACKAGE,
    body,
    definition,
    module_of,
    path_of,
)
from minbert.classroom.starter import readme
from minbert.classroom.steps import LEVELS, STEPS, Hole, Step, steps_of
from tests.classroom.solved import filled, trains_with
from tests.classroom.test_steps import by_function, raising, with_lines
from tests.helpers import ROOT, finished_run

KERNELS = {"scaled_dot_product_attention", "_fused_adamw_", "multi_head_attention_forward"}


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A starter in which everything is left to write."""
    folder = tmp_path_factory.mktemp("classroom") / "starter"
    assert main(["starter", str(folder), "--holes", "everything"]) == 0
    return folder


def changed_functions(level: str) -> dict[Path, tuple[str, ...]]:
    """The functions whose bodies a level's starter replaces, by file."""
    steps = steps_of(level)
    named = [f for step in steps for f in step.functions]
    named += [d.function for d in DETOURS if d.step in {step.name for step in steps}]
    found: dict[Path, tuple[str, ...]] = {}
    for module, name in map(module_of, named):
        path = path_of(module).relative_to(PACKAGE.parent)
        found[path] = (*found.get(path, ()), name)
    return found


@pytest.mark.parametrize("level", LEVELS)
def test_refilled_files_are_ours_byte_for_byte(level: str) -> None:
    changed, functions = emptied(steps_of(level)), changed_functions(level)
    assert changed.keys() == functions.keys()
    for path, content in changed.items():
        ours = (PACKAGE.parent / path).read_bytes()
        assert content != ours and filled(content, ours, functions[path]) == ours


@by_function
def test_an_empty_hole_raises_with_its_step(step: Step, hole: Hole) -> None:
    module, name = module_of(hole.function)
    content = emptied([step])[path_of(module).relative_to(PACKAGE.parent)]
    node = definition(content, name)
    ours = definition(path_of(module).read_bytes(), name)
    assert ast.dump(node.args) == ast.dump(ours.args)
    assert ast.get_docstring(node) == ast.get_docstring(ours)
    said = content[body(content, name)].decode().strip()
    assert said.startswith(f'raise NotImplementedError("step {step.number}, ')
    assert hole.name in said


def test_files_that_no_step_touches_are_ours(starter: Path) -> None:
    changed = emptied(STEPS)
    files = [p.relative_to(starter) for p in (starter / "minbert").rglob("*") if p.is_file()]
    assert len(files) > 100
    for path in files:
        ours = changed.get(path, (PACKAGE.parent / path).read_bytes())
        assert (starter / path).read_bytes() == ours


def test_no_line_of_a_solution_is_left(starter: Path) -> None:
    """Statements of the holes, as the syntax tree spells them, stand in no file of the starter."""
    secrets = {}
    for step in STEPS:
        for hole in step.holes:
            module, name = module_of(hole.function)
            node = definition(path_of(module).read_bytes(), name)
            for part in ast.walk(ast.Module(node.body[1:], [])):
                if isinstance(part, ast.stmt) and len(text := ast.unparse(part)) >= 40:
                    secrets[text] = hole.function
    assert len(secrets) > 60
    names = set()
    for path in starter.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for part in ast.walk(ast.parse(text)):
            if isinstance(part, ast.stmt):
                assert ast.unparse(part) not in secrets, path
            names.add(getattr(part, "attr", getattr(part, "id", "")))
    assert not names & KERNELS
    assert not list(starter.rglob("mistakes*")) and not list(starter.rglob("detours*"))
    assert not list(starter.rglob("*.pyc"))


def test_the_starter_has_what_a_student_looks_for(starter: Path) -> None:
    names = {path.name for path in starter.iterdir()}
    course = "bert classifier config datasets evaluation multitask_classifier optimizer tokenizer"
    assert {f"{name}.py" for name in course.split()} <= names
    assert {"README.md", "LICENSE", "requirements.txt", "pytest.ini", "data", "tests"} <= names
    for data in ("sample", "minbert-mini"):
        assert {p.name for p in (starter / "data" / data).iterdir()} == {
            p.name for p in (ROOT / "data" / data).iterdir()
        }
    for step in STEPS:
        assert (starter / "tests" / f"test_step{step.number}_{step.name}.py").is_file()
        assert (starter / "tests" / "recorded" / f"{step.name}.safetensors").is_file()
    ours = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert (starter / "requirements.txt").read_text() == f"{ours}pytest>=8,<10\n"


@pytest.mark.parametrize("level", LEVELS)
def test_the_assignment_names_every_hole_and_its_file(level: str) -> None:
    page = readme(steps_of(level))
    for step in STEPS:
        asked = step in steps_of(level)
        assert (f"## Step {step.number}: {step.title}\n" in page) == asked
        assert all((f"| `{hole.name}` |" in page) == asked for hole in step.holes)
    assert page.count("python sanity_check.py") == 1
    assert "{" not in page and "\n\n\n" not in page


def test_a_folder_that_is_there_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for standing in (".", ".."):
        assert main(["starter", standing]) == 2
        assert f"{standing}: is there already; name a new folder" in capsys.readouterr().err
    (tmp_path / "mine").write_text("x")
    assert main(["starter", str(tmp_path)]) == 2
    assert f"{tmp_path}: is there already; name a new folder" in capsys.readouterr().err
    assert main(["starter", str(tmp_path / "new"), "--holes", "half"]) == 2
    assert main(["grader", str(tmp_path / "new")]) == 2
    assert main(["starter", str(tmp_path / "mine" / "below")]) == 2
    assert capsys.readouterr().err.count("\n") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@by_function
def test_training_needs_every_hole(place: Path, step: Step, hole: Hole) -> None:
    """Our modules train; with one hole empty, and nothing that stands in for it, they do not."""
    with ExitStack() as stack:
        for detour in DETOURS:
            if detour.step == step.name:
                lines = with_lines(detour.function, detour.body)
                stack.enter_context(standing_in(detour.function, lines))
        stack.enter_context(standing_in(hole.function, raising(hole)))
        with pytest.raises(NotImplementedError, match=hole.name):
            finished_run(place, max_steps=3, **trains_with(step, hole))


def called(folder: Path, *command: str) -> tuple[int, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-B", *command],
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_starter_fails_empty_and_works_filled(starter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "starter"
    shutil.copytree(starter, folder)
    train = ("multitask_classifier.py", "--option", "finetune", "--rrobin", "--limit", "16")
    train += ("--max_steps", "3")
    tests = ("-m", "pytest", "-p", "no:cacheprovider", "tests")
    checks = [("sanity_check.py",), ("optimizer_test.py",)]
    for command in (tests, train, *checks):
        code, said = called(folder, *command)
        assert code != 0 and "is not written yet (README.md)" in said, command
        assert "fault of minbert" not in said
    for path, functions in changed_functions("everything").items():
        ours = (PACKAGE.parent / path).read_bytes()
        file = folder / path
        holes = {n for step in STEPS for f in step.functions for n in [module_of(f)[1]]}
        names = tuple(name for name in functions if name in holes)
        file.write_bytes(filled(file.read_bytes(), ours, names))
    for command in (tests, train, *checks, (*train, "--smart"), (*train, "--r3f")):
        code, said = called(folder, *command)
        assert code == 0, said
    code, said = called(folder, *train, "--freelb")
    assert code != 0 and "the starter leaves FreeLB.passes out" in said
    imports = "import bert, classifier, config, datasets, evaluation, optimizer, tokenizer"
    assert called(folder, "-c", imports) == (0, "")
