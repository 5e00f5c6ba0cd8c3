"""Bodies are found and replaced byte for byte, whatever bytes the file has."""

from __future__ import annotations

import ast

import pytest

from minbert.classroom.source import (
    as_body,
    body,
    definition_text,
    module_of,
    path_of,
    replaced,
)
from tests.classroom.solved import filled

SOURCE = '''"""Päckage: √D."""
import math

def plain(x):
    """Gibt 2·x zurück: ≤ ½."""
    # a remark that gives it away
    return 2 * x  # (B, T)


class Owner:
    """√."""

    @staticmethod
    def method(
        x,
        y=1,
    ):
        """One

        two: ∇."""

        for _ in range(y):
            x = [
                x,
            ]
        return x

    def last(self): "No new line."; return 1
'''.encode()
NAMES = ("plain", "Owner.method", "Owner.last")
EMPTY = 'raise NotImplementedError("step 1: ½")'


def emptied(source: bytes, *names: str) -> bytes:
    return replaced(source, {name: as_body(source, name, EMPTY) for name in names})


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("names", [NAMES[:1], NAMES[1:2], NAMES[:2], NAMES[1::-1]])
def test_refilled_bytes_are_those_of_before(names: tuple[str, ...], ends: bytes) -> None:
    source = SOURCE.replace(b"\n", ends)
    holes = emptied(source, *names)
    assert holes != source and filled(holes, source, names) == source


def test_an_emptied_body_raises_and_keeps_signature_and_docstring() -> None:
    text = emptied(SOURCE, "plain", "Owner.method").decode()
    assert "remark" not in text and "2 * x" not in text and "range(y)" not in text
    found = {n.name: n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)}
    whole = {n.name: n for n in ast.walk(ast.parse(SOURCE)) if isinstance(n, ast.FunctionDef)}
    for name in ("plain", "method"):
        assert ast.dump(found[name].args) == ast.dump(whole[name].args)
        assert ast.get_docstring(found[name]) == ast.get_docstring(whole[name])
        assert [type(node) for node in found[name].body] == [ast.Expr, ast.Raise]
    assert ast.dump(found["last"]) == ast.dump(whole["last"])


def test_a_definition_stands_alone_with_its_decorators() -> None:
    text = definition_text(SOURCE, "Owner.method")
    assert text.startswith("@staticmethod\ndef method(") and text.endswith("    return x\n")
    ast.parse(text)


@pytest.mark.parametrize("name", ["none", "Owner", "Owner.none", "plain.x"])
def test_what_is_no_function_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name.rpartition(".")[2]):
        body(SOURCE, name)


def test_a_function_without_docstring_or_without_lines_is_refused() -> None:
    for source in (b"def f():\n    return 1\n", b'def f():\n    """Only this."""\n'):
        with pytest.raises(ValueError, match="f: needs a docstring"):
            body(source, "f")


def test_dotted_names_are_split_at_the_file() -> None:
    assert module_of("minbert.model.MultitaskBert.pool") == ("minbert.model", "MultitaskBert.pool")
    module, name = module_of("minbert.encoder.attention.drop")
    assert path_of(module).name == "attention.py" and name == "drop"
    with pytest.raises(ValueError, match="no module of the package"):
        module_of("minbert.nowhere.function")
