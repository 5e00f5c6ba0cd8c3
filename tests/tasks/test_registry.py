"""A task is one entry: outside its room no program text speaks of a task by its name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbert.tasks.registry import TASKS

PACKAGE = Path(__file__).parents[2] / "minbert"
EXCEPTED = ("tasks", "sample", "experiments")  # rooms that are about these very tasks
FILES_ONLY = PACKAGE / "download" / "course_files.py"  # names files, not tasks
NAMES = sorted({name for task in TASKS.values() for name in (task.name, *task.other_names)})
# a name as a word: `_`, `-` and digits part words, as in `sst_dev` and `ids-sst-dev.csv`
WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(map(re.escape, NAMES))})(?![a-z])", re.IGNORECASE)
OWNERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(tree: ast.Module) -> set[int]:
    """The identities of the nodes that are docstrings."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, OWNERS)]
    return {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}


def spoken(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The line and text of each string that is no docstring, annotated field and keyword."""
    left_out = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            if id(node) not in left_out:
                yield node.lineno, str(node.value)
        elif isinstance(node, ast.AnnAssign):
            yield node.lineno, ast.unparse(node.target)
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.value.lineno, node.arg


def named_tasks(source: str) -> list[tuple[int, str]]:
    """What `spoken` yields of a file's source, where a task's name is a word of it."""
    return [(line, text) for line, text in spoken(ast.parse(source)) if WORD.search(text)]


def files() -> list[Path]:
    """The files that are to name no task."""
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in EXCEPTED and path != FILES_ONLY
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_outside_the_tasks_room_names_a_task(path: Path) -> None:
    assert named_tasks(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", NAMES)
def test_names_are_found_in_strings_fields_and_keywords(name: str) -> None:
    assert named_tasks(f"x = 1\ntable = {{'{name}': 1}}\n") == [(2, name)]
    assert named_tasks(f"log.info('no %s of {name.upper()}.', file)")
    assert named_tasks(f"print(f'predictions/{name}-{{split}}.csv')")
    assert named_tasks(f"mark = line.startswith(b'{name},')")
    assert named_tasks(f"class Config:\n    {name}_dev: str = 'dev.csv'\n") == [(2, f"{name}_dev")]
    assert named_tasks(f"train(tasks, {name}_weight=2)") == [(1, f"{name}_weight")]
    assert named_tasks(f"def f():\n    x = 1\n    'a {name} that documents nothing'\n")


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_comments_and_longer_words_are_no_names(name: str) -> None:
    assert named_tasks(f'"""About {name}."""\n\n\ndef f():\n    """{name}"""  # {name}\n') == []
    assert named_tasks(f"'{name}meter', 'pre{name}'") == []


def test_every_room_but_the_excepted_ones_is_searched() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    searched = {path.relative_to(PACKAGE).parts[0] for path in files()}
    assert rooms - searched == set(EXCEPTED)
    assert {"grade", "finetune", "regularizers", "model.py"} <= searched
