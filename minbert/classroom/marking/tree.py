"""The package as a submission's process sees it: the starter's files, and some of the student's."""

import ast
import compileall
import glob
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from minbert.classroom.closure import files_for
from minbert.classroom.emptying import starters_files
from minbert.classroom.source import PACKAGE
from minbert.classroom.steps import Step

ENTRY = "minbert.classroom.marking.attempt"


def make_base(folder: Path, steps: Iterable[Step]) -> None:
    """Write the starter's part of the tree, compiled, so that it is loaded quickly."""
    for path, content in starters_files([ENTRY], steps):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    compileall.compile_dir(folder, quiet=2)


@contextmanager
def planted(base: Path, folder: Path, files: Mapping[Path, bytes]) -> Iterator[Path]:
    """Give a copy of the base, within `folder`, with these files over it; it is removed after.

    Whoever may look into `folder` may read all of it, whatever the umask is.
    """
    tree = Path(tempfile.mkdtemp(prefix="tree-", dir=folder))
    try:
        shutil.copytree(base, tree, dirs_exist_ok=True)
        for path, content in files.items():
            place = tree / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            for compiled in (place.parent / "__pycache__").glob(f"{glob.escape(place.stem)}.*"):
                compiled.unlink()
        for path in (tree, *tree.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield tree
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def libraries() -> list[str]:
    """The modules outside the package that the tree imports, so that they are loaded once."""
    found = {"torch._dynamo"}  # which torch loads when it first makes an optimizer: 1.5 s
    for path in files_for([ENTRY]):
        if path.suffix == ".py":
            found |= set(_imported((PACKAGE.parent / path).read_text(encoding="utf-8")))
    return sorted(name for name in found if name.partition(".")[0] != PACKAGE.name)


def _imported(source: str) -> Iterable[str]:
    for node in ast.parse(source).body:  # what functions import is loaded by few
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
