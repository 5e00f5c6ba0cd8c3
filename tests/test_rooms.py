"""The one rule of structure: a room imports what its entry here allows, and never in a circle.

A room is a folder of the package, or a file beside the folders. The table stands in an order in
which every room comes after those that it imports, so that no import can point upwards.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "minbert"
MOST_ROOMS, MOST_FLOORS = 19, 8  # the classroom makes others' rooms into an assignment

_MAIN_JOB = "support encoder tasks data model training regularizers"
ROOMS: Mapping[str, str] = {  # a room -> the rooms that its files may import
    "support": "",
    "encoder": "support",
    "tasks": "support",
    "reports": "support",
    "statistics": "tasks",
    "sample": "support tasks",
    "data": "support tasks",
    "model": "support encoder data",
    "training": "support encoder tasks",
    "regularizers": "support tasks data model training",
    "finetune": f"{_MAIN_JOB} statistics reports",
    "pretrain": f"{_MAIN_JOB} finetune",
    "grade": "support tasks data finetune statistics reports",
    "predict": "support tasks data finetune reports",
    "export": "support encoder tasks data finetune statistics",
    "download": "support encoder",
    "classroom": f"{_MAIN_JOB} grade reports",
    "experiments": f"{_MAIN_JOB} finetune pretrain statistics reports",
    "__main__": "support",
}
EXPERIMENTS: Mapping[str, str] = {  # the same for the rooms within experiments/
    "grid": "",
    "r3f_settings": "",
    "analysis": "grid",
    "presentation": "analysis grid",
    "measuring": "",
    "tables": "grid analysis presentation r3f_settings",
    "cost": "measuring grid",
    "bench": "measuring",
    "scale": "measuring",
    "gpu": "measuring bench",
    "equal": "measuring grid presentation",
    "probe": "grid presentation r3f_settings",
    "faults": "grid",
    "__main__": "",
    "all": "tables cost grid",
    "compare": "grid",
    "exchange": "measuring",
    "summary": "grid",
    "variants": "",
}

Imports = Mapping[str, Set[str]]


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, `__init__.py` files apart."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py"
    }


def imported(source: str, known: Set[str]) -> set[str]:
    """The modules and rooms that `source` imports, wherever in it the import stands.

    A folder of modules counts, imported as a whole, as the room that it is.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they point"
            found.add(str(node.module))
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    assert not any(name.split(".")[0] == "tests" for name in found), "tests are no part of it"
    own = {name.removeprefix("minbert.") for name in found if name.startswith("minbert.")}
    folders = {name.rpartition(".")[0] for name in known} - {""}
    within = {name.rpartition(".")[0] for name in own & known}  # `from folder import module`
    return own & known | (own & folders) - within


def knows_torch_distributed(source: str) -> bool:
    """Whether `source` imports torch.distributed or anything in it, or reaches it through torch."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            names.add(ast.unparse(node))
    return any(f"{name}.".startswith("torch.distributed.") for name in names)


def room_of(module: str) -> str:
    """The first part of a module's name: its folder, or the file itself."""
    return module.partition(".")[0]


def between_rooms(imports: Imports) -> dict[str, set[str]]:
    """The imports that lead from one room to another."""
    rooms: dict[str, set[str]] = {room_of(name): set() for name in imports}
    for name, others in imports.items():
        rooms[room_of(name)] |= {room_of(other) for other in others} - {room_of(name)}
    return rooms


def within(imports: Imports, room: str) -> dict[str, set[str]]:
    """The modules of one room and their imports of each other, named from inside it."""
    prefix = f"{room}."
    return {
        name.removeprefix(prefix): {o.removeprefix(prefix) for o in others if o.startswith(prefix)}
        for name, others in imports.items()
        if name.startswith(prefix)
    }


def forbidden(imports: Imports, allowed: Mapping[str, str]) -> set[tuple[str, str]]:
    """Pairs (importer, imported) that the table does not allow, a room without an entry included.

    A room may always import from itself.
    """
    return {
        (name, other)
        for name, others in imports.items()
        for other in others | {name}
        if room_of(name) not in allowed
        or room_of(other) not in (room_of(name), *allowed[room_of(name)].split())
    }


def circle(imports: Imports) -> list[str]:
    """Names that import each other in a circle, in order; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
        elif name not in done:
            for other in sorted(imports.get(name, ())):
                yield from visit(other, [*path, name])
            done.add(name)

    return next((found for name in sorted(imports) for found in visit(name, [])), [])


def floors(allowed: Mapping[str, str]) -> dict[str, int]:
    """Each room's floor: one above the highest that it may import."""
    found: dict[str, int] = {}
    for name, others in allowed.items():
        found[name] = max((found[other] + 1 for other in others.split()), default=0)
    return found


@pytest.fixture(scope="module")
def imports() -> Imports:
    files = modules()
    return {
        name: imported(path.read_text(encoding="utf-8"), files.keys())
        for name, path in files.items()
    }


def test_every_room_imports_what_it_may(imports: Imports) -> None:
    assert forbidden(imports, ROOMS) == set()
    assert forbidden(within(imports, "experiments"), EXPERIMENTS) == set()


@pytest.mark.parametrize("table", [ROOMS, EXPERIMENTS], ids=["package", "experiments"])
def test_the_tables_point_downwards(table: Mapping[str, str]) -> None:
    assert max(floors(table).values()) < MOST_FLOORS  # a KeyError is an arrow that points up


def test_no_allowance_and_no_room_is_left_over(imports: Imports) -> None:
    assert between_rooms(imports).keys() == ROOMS.keys()
    assert between_rooms(within(imports, "experiments")).keys() == EXPERIMENTS.keys()
    assert len(ROOMS) <= MOST_ROOMS


def test_there_is_no_circle_of_rooms_or_files(imports: Imports) -> None:
    assert circle(imports) == []
    assert circle(between_rooms(imports)) == []
    assert circle(between_rooms(within(imports, "experiments"))) == []


def test_the_package_shows_few_entries() -> None:
    """The commands that use a finished run, predict and export, are two of them."""
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 20
    files = {name for name in entries if name.endswith(".py")}
    assert files == {"__init__.py", "__main__.py", "model.py"}


def test_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == ROOMS.keys() - {"model", "__main__"}


def test_the_map_in_the_docs_lists_every_file_of_the_rooms_that_it_opens() -> None:
    page = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    tree = page.split("## The map")[1].split("```")[1]
    listed: dict[str, set[str]] = {}
    for line in tree.splitlines():
        if found := re.match(r"[├└]── (\w+)(?:/|\.py)", line):
            room = listed.setdefault(found.group(1), set())
        elif found := re.match(r"│   [├└]── (\w+)(?:/|\.py)", line):
            room.add(found.group(1))
    assert listed.keys() == ROOMS.keys()
    for room, names in listed.items():
        there = {path.stem for path in (PACKAGE / room).glob("*") if path.stem[0] != "_"}
        assert not names or room == "experiments" or names == there, room


def test_what_no_room_has_stands_at_the_root_of_the_tests() -> None:
    files = {path.stem for path in Path(__file__).parent.glob("*.py")}
    shared = {"__init__", "conftest", "forked", "helpers", "hostile_files", "no_flushing"}
    whole = {"test_rooms", "test_readme", "test_gpu", "test_model", "test_installed"}
    assert files == shared | whole | {"tiny_models"}


def test_init_files_are_empty_but_the_packages_own_and_one_that_names_what_users_import() -> None:
    files = list(PACKAGE.rglob("__init__.py"))
    assert files
    written = {path for path in files if path.read_bytes()}
    assert written == {PACKAGE / "__init__.py", PACKAGE / "predict" / "__init__.py"}
    own = ast.parse((PACKAGE / "__init__.py").read_text())
    found = [node for node in ast.walk(own) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [alias.name for node in found for alias in node.names] == [
        "os",
        "signal",
        "sys",
    ]  # and no torch


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in modules().values()}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_import_of_the_package_is_seen(imports: Imports) -> None:
    assert {"encoder.bert", "data.batches", "support.randomness"} <= imports["model"]
    source = (
        "import minbert.a\ndef f():\n    from minbert import b\n    from minbert.c.d import x\n"
    )
    assert imported(source, {"a", "b", "c.d", "e"}) == {"a", "b", "c.d"}
    whole = "from minbert import c\nimport minbert.f\nfrom minbert.g import h"
    assert imported(whole, {"c.d", "f.x", "g.h.y", "e"}) == {"c", "f", "g.h"}
    assert imported("from minbert.c import d", {"c.d"}) == {"c.d"}
    with pytest.raises(AssertionError):
        imported("from tests import helpers", {"a"})


def test_one_file_alone_knows_torch_distributed() -> None:
    """The file has its launcher, its group and its exchange; all others ask that file."""
    every = {name: path.read_text(encoding="utf-8") for name, path in modules().items()}
    assert [n for n, source in every.items() if knows_torch_distributed(source)] == [
        "training.group"
    ]
    for line in (
        "import torch.distributed.elastic",
        "from torch import Tensor, distributed as dist",
        "def f():\n    from torch.distributed.launcher.api import LaunchConfig",
        "import torch\nprint(torch.distributed.get_rank())",
    ):
        assert knows_torch_distributed(line), line
    assert not knows_torch_distributed("from torch.nn.parallel import DistributedDataParallel")


def test_forbidden_imports_and_circles_are_found() -> None:
    allowed = {"low": "", "other": "", "high": "low"}
    assert forbidden({"low.a": {"high.b"}, "high.b": set()}, allowed) == {("low.a", "high.b")}
    assert forbidden({"low.a": {"low.b"}, "high.c": {"low.a"}}, allowed) == set()
    assert forbidden({"other.a": {"low.b"}}, allowed) == {("other.a", "low.b")}
    assert forbidden({"new": set()}, allowed) == {("new", "new")}  # a file in no room
    assert circle({"low": {"other"}, "other": {"high"}, "high": {"low"}})
    assert circle({"low": {"low"}}) == ["low", "low"]
    assert circle({"low": set(), "other": {"low"}, "high": {"low", "other"}}) == []
