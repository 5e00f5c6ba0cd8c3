"""The TOML file in which a user describes a task, read into a `Definition`."""

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from minbert.support import untrusted
from minbert.support.errors import InputError
from minbert.tasks.own import Definition

_REQUIRED = [e.name for e in fields(Definition) if e.default is e.default_factory is MISSING]


def read(source: str) -> Definition:
    """The definition in a TOML file, or in the JSON of an earlier one. Raises InputError."""
    try:
        if source.startswith("{"):
            return _definition(json.loads(source), Path())
        return _definition(_toml(Path(source)), Path(source).parent)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place_of(source)}: {error}") from error


def place_of(source: str) -> str:
    """What a message calls the source of a definition."""
    return "task_file" if source.startswith("{") else source


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(untrusted.read_text(path, untrusted.MEGABYTE))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as TOML ({error})") from error


def _definition(values: Mapping[str, Any], folder: Path) -> Definition:
    """The definition that a file's values are. Raises ValueError."""
    known = [entry.name for entry in fields(Definition)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"unknown key {name!r}; there are: {', '.join(known)}{hint}")
    for name in _REQUIRED:
        if name not in values:
            raise ValueError(f"no key {name!r}; it needs {', '.join(_REQUIRED)}")
    given = {name: _READERS.get(name, _text)(name, value) for name, value in values.items()}
    given["files"] = {split: str(folder / name) for split, name in given["files"].items()}
    return Definition(**given)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, not a text in quotes")
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(_text(name, one) for one in values)


def _label_names(_name: str, value: Any) -> tuple[str, ...]:
    """The labels as files spell them: a number or true may stand there without quotes."""
    values = value if isinstance(value, list) else [value]
    return tuple(one if isinstance(one, str) else json.dumps(one, default=str) for one in values)


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(type(one) in (int, float) and abs(one) < 1e30 for one in values):
        raise ValueError(f"{name} is {value!r}, not two numbers, as in [1, 5]")
    return tuple(map(float, values))


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, neither true nor false")
    return value


def _table(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}, not a table [{name}] of splits and texts")
    return {split: _text(f"{name}.{split}", path) for split, path in value.items()}


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "texts": _texts,
    "metric": _texts,
    "columns": _texts,
    "numbered": _switch,
    "labels": _label_names,
    "range": _numbers,
    "quotes": _switch,
    "files": _table,
    "parts": _table,
}
