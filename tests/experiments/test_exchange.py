"""What ranks exchange and how far they scale, by counts alone: against what torch really sends."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from minbert.experiments.exchange import (
    ExchangeConfig,
    Step,
    all_reduce_seconds,
    exchanged,
    main,
    on_paper,
)
from minbert.regularizers.objective import Objective
from minbert.training import group
from minbert.training.shared import SharedObjective
from tests.helpers import TINY, save_encoder
from tests.tiny_models import Case, tiny_batch, tiny_model

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
BYTES = {"int": 4, "long int": 8, "float": 4, "double": 8}


def sent(trace: Path) -> int:
    """The bytes of all tensors that the group's backend was given to reduce."""
    events = json.loads(trace.read_text())["traceEvents"]
    given = [event["args"] for event in events if event["name"] == "gloo:all_reduce"]
    sizes = [(torch.Size(own["Input Dims"][0]).numel(), own["Input type"][0]) for own in given]
    return sum(count * BYTES[kind] for count, kind in sizes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_bytes_are_those_that_torch_is_given(tmp_path: Path, dtype: torch.dtype) -> None:
    """In a group of one, which is given the same tensors."""
    case = Case("sst", "bi")
    model = tiny_model(case, dtype=dtype)
    batch, objective = tiny_batch(case), SharedObjective(Objective())
    dist = group.dist
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        objective.backward(model, batch, 1)  # the first step also compares shapes
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
            values = objective.backward(model, batch, 1)
            group.highest(0)
    finally:
        dist.destroy_process_group()
    profiled.export_chrome_trace(str(tmp_path / "trace.json"))
    assert sent(tmp_path / "trace.json") == exchanged(model, len(values))


def test_on_paper_by_hand() -> None:
    """A gigabyte at 8 Gb/s, beside a step of a second."""
    assert [all_reduce_seconds(10**9, 1e9, n) for n in (1, 2, 4)] == [0, 1, 1.5]
    config = ExchangeConfig(gflops=("1000",), links=("8",), ranks=("2", "4"), batch_size=16)
    two, four = on_paper(config, Step("x", 1, 10**9, 10**12))
    assert (two.alone, two.exchange, two.ranks) == (1, 1, 2)
    assert two.speed_up == pytest.approx(1 / (0.5 + 1))
    assert four.speed_up == pytest.approx(1 / (0.25 + 1.5))
    assert two.even_pairs == four.even_pairs == 32  # a sixteenth of a second each: two seconds


@pytest.mark.slow
def test_published_shapes_have_their_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers of the encoder's weights as the reference library has them."""
    outputs = {name: tmp_path / f"found.{name}" for name in ("json", "csv")}
    files = [f"--{name}={path}" for name, path in outputs.items()]
    assert main(["--encoders", "bert-base", "bert-large", "--batch_size", "1", *files]) == 0
    rows = json.loads(outputs["json"].read_text())["rows"]
    weights = {row["encoder"]: row["weights"] for row in rows}
    heads = {"bert-base": 768, "bert-large": 1024}
    for name, encoder in {"bert-base": 109_482_240, "bert-large": 335_141_888}.items():
        assert 0 < weights[name] - encoder <= 3 * heads[name] + 1, name
    with outputs["csv"].open(newline="") as stream:
        assert [row["ranks"] for row in csv.DictReader(stream)] == [str(r["ranks"]) for r in rows]
    assert "| bert-large |" in capsys.readouterr().out


def test_bytes_stay_and_operations_grow_with_the_batch(tmp_path: Path) -> None:
    save_encoder(tmp_path / "encoder", TINY)
    found = {}
    for size, more in ((2, []), (6, []), (2, ["--smart"])):
        path = tmp_path / f"{size}{len(more)}.json"
        argv = ["--encoders", str(tmp_path / "encoder"), "--batch_size", str(size), *more]
        assert main([*argv, f"--json={path}"]) == 0
        found[size, len(more)] = json.loads(path.read_text())["rows"][0]
    few, many, smart = found.values()
    assert few["exchanged"] == many["exchanged"]
    assert smart["exchanged"] > few["exchanged"]  # a number in the log for each term
    assert many["flops"] == 3 * few["flops"] < 3 * smart["flops"]


def test_the_page_has_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out.splitlines()
    page = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in printed if line.startswith("|")]
    assert len(rows) > 15 and [line for line in rows if line not in page] == []


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--ranks", "1"], "--ranks 1: must be whole numbers, 2 or more"),
        (["--links", "0.5"], "--links 0.5: must be whole numbers, 1 or more"),
        (["--encoders", "nowhere"], "--encoders nowhere: "),
        (["--csv", "out.txt"], "must end in .csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert words in captured.err and len(captured.err.splitlines()) == 1 and not captured.out
