"""What each part finds, in tiny sizes on a CPU, in this process."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from minbert.experiments.gpu import steps
from minbert.experiments.gpu.findings import Findings
from minbert.experiments.gpu.material import METHODS, READABLE, TINY, Setting, named
from minbert.support.places import SAMPLE


def measured(part: str, out: Path) -> dict[str, dict[str, Any]]:
    """What a part found."""
    setting, path = Setting("cpu", True, SAMPLE, out), out / f"{part}.json"
    import_module(f"minbert.experiments.gpu.{part}").measure(setting, Findings(path, 600))
    return json.loads(path.read_text())


def test_the_first_losses_and_the_gradients_are_the_cpus(tmp_path: Path) -> None:
    found = measured("parity", tmp_path)
    for method in METHODS:
        assert found[f"the first losses, {method}"]["fp32 off by"] == 0
        assert found[f"the first losses, {method}"]["agrees"] is True
        assert 0 < found[f"gradients, {method}"]["bf16 off by"] < 0.05
    assert all(found[f"replays, {p}"] == {"same": True, "others differ": True} for p in ("fp32",))


def test_ceilings_are_rates_and_shares(tmp_path: Path) -> None:
    found = measured("ceilings", tmp_path)
    assert all(value > 0 for value in found["rates"].values())
    assert all(value > 0 for value in found["microseconds of the host"].values())
    dropped = {name: facts["weights dropped"] for name, facts in found.items() if "atten" in name}
    assert dropped["attention, float32, dropout 0"] == 0
    assert 0.05 < dropped["attention, float32, dropout 0.1"] < 0.15


def test_a_profile_keeps_the_trace(tmp_path: Path) -> None:
    found = measured("profile", tmp_path)
    traces = {facts["trace"] for facts in found.values()}
    assert traces == {path.name for path in tmp_path.glob("trace-*")} != set()
    assert {facts["kernels"] for facts in found.values()} == {0}  # of a GPU


def test_nothing_is_compiled_for_a_cpu(tmp_path: Path) -> None:
    assert all("left out" in facts for facts in measured("compiled", tmp_path).values())


@pytest.mark.parametrize("there", [True, False])
def test_steps_stand_beside_the_librarys_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    if there:
        pytest.importorskip("transformers")
    monkeypatch.setattr(steps.library, "is_there", lambda: there)
    found = measured("steps", tmp_path)
    (batch,) = TINY.batches
    unpadded = found[f"without padding, {named(*batch)}"]
    assert len(found) == len(METHODS) + len(READABLE) + 1
    whole = Setting("cpu", True, SAMPLE, tmp_path).batch(*batch)
    padding, step = whole.padded_tokens - whole.real_tokens, whole.padded_tokens // 16
    assert unpadded["positions left out"] == padding // step * step > 0
    assert unpadded["ms"] > 0
    plain = next(facts for name, facts in found.items() if name.startswith("plain"))
    assert plain["ms"] > 0
    assert all(
        (plain[f"library {kind} / ours"] is not None) == there for kind in ("as used", "tuned")
    )


def test_a_floor_is_products_then_the_update() -> None:
    assert steps.Ceilings(flops=100.0, bytes=7.0).floor(200, weights=1) == 2 + 4
