"""Our files with the bodies of the assigned functions emptied."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from minbert.classroom.closure import files_for
from minbert.classroom.detours import DETOURS
from minbert.classroom.source import PACKAGE, as_body, module_of, path_of, replaced
from minbert.classroom.steps import Step


def emptied(steps: Iterable[Step]) -> dict[Path, bytes]:
    """The files that these steps change, relative to the package's parent, with their new bytes."""
    bodies: dict[str, dict[str, str]] = defaultdict(dict)
    names = {step.name for step in steps}
    for detour in DETOURS:
        if detour.step in names:
            module, name = module_of(detour.function)
            bodies[module][name] = detour.body
    for step in steps:
        for hole in step.holes:
            module, name = module_of(hole.function)
            bodies[module][name] = f'raise NotImplementedError("{step.message(hole)}")'
    return {
        path_of(module).relative_to(PACKAGE.parent): _with_bodies(path_of(module), own)
        for module, own in bodies.items()
    }


def starters_files(modules: Iterable[str], steps: Iterable[Step]) -> Iterator[tuple[Path, bytes]]:
    """The files that these modules need, as a starter of these steps has them."""
    changed = emptied(steps)
    for path in files_for(modules):
        yield path, changed[path] if path in changed else (PACKAGE.parent / path).read_bytes()


def _with_bodies(path: Path, bodies: Mapping[str, str]) -> bytes:
    """A file of ours with other bodies for the functions that `bodies` names."""
    source = path.read_bytes()
    return replaced(source, {name: as_body(source, name, code) for name, code in bodies.items()})
