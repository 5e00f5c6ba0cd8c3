"""Which files of the package some modules need: what they import, wherever the import stands."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from minbert.classroom.source import PACKAGE, path_of


def files_for(modules: Iterable[str]) -> list[Path]:
    """The files of the package, relative to its parent, that these modules need.

    Beside the modules these are the `__init__.py` of their folders, and the HTML templates in
    these folders.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _imported(_path(module).read_text(encoding="utf-8"))
    paths = {_path(module) for module in found}
    folders = {folder for path in paths for folder in path.parents if _is_ours(folder)}
    return sorted(
        path.relative_to(PACKAGE.parent)
        for path in paths | {extra for folder in folders for extra in _extras(folder)}
    )


def _path(module: str) -> Path:
    """The file of a module or, for a folder, its `__init__.py`."""
    path = path_of(module)
    return path if path.is_file() else path.with_suffix("") / "__init__.py"


def _is_ours(folder: Path) -> bool:
    return folder == PACKAGE or PACKAGE in folder.parents


def _extras(folder: Path) -> Iterator[Path]:
    yield folder / "__init__.py"
    yield from (p for p in folder.iterdir() if p.is_file() and p.suffix == ".html")


def _imported(source: str) -> Iterator[str]:
    """The modules of the package that a file imports."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (n for n in names if n.partition(".")[0] == PACKAGE.name and _path(n).is_file())
