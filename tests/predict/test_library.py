"""Every block of docs/library.md runs, one after the other, as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.tasks.answers import Answer
from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_every_block_runs_and_does_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    cells: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/library.md", "exec"), cells)
    assert cells["cls"].shape == cells["mean"].shape == (2, 256)
    assert torch.isfinite(cells["mean"]).all()
    assert cells["logged"].keys() == {"loss", "task_loss", "short_vectors"}
    assert cells["result"].folder.parent == Path("runs")
    assert isinstance(cells["answer"], Answer) and 0 <= cells["answer"].score <= 5
    assert (cells["vectors"] / "modules.json").is_file()
    assert "('sst', 'para', 'sts')" in capsys.readouterr().out


def test_the_three_lines_at_the_top_are_those_of_the_blocks() -> None:
    lines = re.findall(r"^    (.+)$", PAGE.split("##")[0], flags=re.MULTILINE)
    assert len(lines) == 3
    loading, calling = (line.split("(")[0] for line in lines[1:])
    (block,) = [block for block in BLOCKS if lines[0] in block]
    assert loading in block and calling in block
