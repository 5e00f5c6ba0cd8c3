"""Bodies of functions in the bytes of a file: found by the syntax tree, replaced byte for byte.

The body of a function is what follows its docstring, to the end of its last line. A function
without a docstring has no place where its body begins, so it is refused.
"""

import ast
import itertools
import textwrap
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
Definition = ast.FunctionDef


def module_of(dotted: str) -> tuple[str, str]:
    """Split a function's dotted name: its module, and its name within it (`Class.method`).

    Raises ValueError where no file of the package is the module.
    """
    parts = dotted.split(".")
    for count in range(len(parts) - 1, 1, -1):
        module = ".".join(parts[:count])
        if path_of(module).is_file():
            return module, ".".join(parts[count:])
    raise ValueError(f"{dotted}: no module of the package holds it")


def path_of(module: str) -> Path:
    """The file of a module of the package, which need not exist."""
    return (PACKAGE.parent / Path(*module.split("."))).with_suffix(".py")


def definition(source: bytes, name: str) -> Definition:
    """The definition of `name` (`function` or `Class.method`). Raises ValueError for none."""
    found: ast.Module | ast.ClassDef | Definition = ast.parse(source)
    for part in name.split("."):
        named = (n for n in found.body if isinstance(n, (ast.ClassDef, ast.FunctionDef)))
        inner = next((node for node in named if node.name == part), None)
        if inner is None:
            raise ValueError(f"{name}: no such function")
        found = inner
    if not isinstance(found, Definition):
        raise ValueError(f"{name}: is no function")
    return found


def body(source: bytes, name: str) -> slice:
    """Where the body of `name` lies in the bytes. Raises ValueError for one without docstring."""
    node = definition(source, name)
    if ast.get_docstring(node) is None or len(node.body) < 2:
        raise ValueError(f"{name}: needs a docstring and something after it")
    starts = _line_starts(source)
    docstring, last = node.body[0], node.body[-1]
    begin = starts[(docstring.end_lineno or 0) - 1] + (docstring.end_col_offset or 0)
    return slice(begin, starts[last.end_lineno or 0] - 1)


def replaced(source: bytes, bodies: Mapping[str, bytes]) -> bytes:
    """The file with other bodies for the functions that `bodies` names."""
    places = {name: body(source, name) for name in bodies}
    for name, place in sorted(places.items(), key=lambda item: -item[1].start):
        source = source[: place.start] + bodies[name] + source[place.stop :]
    return source


def as_body(source: bytes, name: str, code: str) -> bytes:
    """Lines of code, indented as a new body of `name` must be."""
    margin = " " * definition(source, name).body[0].col_offset
    return b"\n" + textwrap.indent(code, margin).encode()


def definition_text(source: bytes, name: str) -> str:
    """The text of a definition with its decorators, as it would stand at a module's top level."""
    node = definition(source, name)
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    lines = source.decode().splitlines(keepends=True)[first - 1 : node.end_lineno]
    return textwrap.dedent("".join(lines))


def _line_starts(source: bytes) -> list[int]:
    """The offset of each line, and of what would be the line after the last."""
    lengths = map(len, source.splitlines(keepends=True))
    return list(itertools.accumulate(lengths, initial=0))
