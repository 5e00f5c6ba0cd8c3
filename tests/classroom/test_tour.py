"""The notebook docs/tour.ipynb: stripped, made of what exists, and run from top to bottom."""

from __future__ import annotations

import ast
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT

TOUR = ROOT / "docs" / "tour.ipynb"
NOTEBOOK: dict[str, Any] = json.loads(TOUR.read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
MOST_STEPS = 120


def test_it_is_a_notebook_without_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in NOTEBOOK["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_one_cell_installs_and_all_are_python() -> None:
    assert sum("pip" in source for source in CODE) == 1
    for source in CODE:
        compile(source, "cell", "exec")


def test_whatever_it_imports_from_the_package_exists() -> None:
    nodes = [node for source in CODE for node in ast.walk(ast.parse(source))]
    named = [
        (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("minbert")
        for alias in node.names
    ]
    assert len(named) > 10
    for module, name in named:
        assert hasattr(import_module(str(module)), name), (module, name)


@pytest.mark.slow
def test_it_runs_offline_within_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="pip install -r tests/requirements.txt")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    book = nbformat.read(TOUR, 4)
    nbformat.validate(book)
    there = {"metadata": {"path": str(TOUR.parent)}}
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources=there).execute()
    outputs = [each for cell in book.cells for each in cell.get("outputs", [])]
    printed = "".join(each.get("text", "") for each in outputs)
    assert "Error" not in printed
    (steps,) = re.findall(r"both runs: (\d+) steps", printed)
    assert 0 < int(steps) <= MOST_STEPS
    pictures = [each for each in outputs if "image/png" in each.get("data", {})]
    assert len(pictures) == 2
    (page,) = (each for each in outputs if "text/html" in each.get("data", {}))
    assert "srcdoc" in page["data"]["text/html"]
