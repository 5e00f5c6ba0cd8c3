"""The checks of encoder and optimizer, held to the libraries that others trust."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from minbert.classroom import recorded
from minbert.classroom.handout import optimizer_test, sanity_check
from minbert.classroom.recorded import Recorded
from minbert.classroom.starter import fitted_points
from minbert.support.places import BUNDLED_ENCODER


def test_the_encoders_numbers_are_the_librarys() -> None:
    tokenizer = transformers.BertTokenizerFast(str(BUNDLED_ENCODER / "vocab.txt"))
    model = transformers.BertModel.from_pretrained(BUNDLED_ENCODER).float().eval()
    tokens = tokenizer(list(sanity_check.SENTENCES), padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = model(**tokens)
    hidden = theirs.last_hidden_state * tokens["attention_mask"][..., None]
    expected = {"last_hidden_state": hidden, "pooler_output": theirs.pooler_output}
    for attention in ("reference", "fused"):
        assert sanity_check.differences(sanity_check.outputs(attention), expected) == []


def test_the_sanity_check_ends_in_1_where_a_number_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = dict(sanity_check.outputs())
    path = tmp_path / "sanity_check.safetensors"
    recorded.save(path, {sanity_check.NAME: Recorded({}, expected)})
    assert sanity_check.main(tmp_path) == 0
    wrong = {**expected, "pooler_output": expected["pooler_output"] + 0.01}
    recorded.save(path, {sanity_check.NAME: Recorded({}, wrong)})
    capsys.readouterr()
    assert sanity_check.main(tmp_path) == 1
    assert capsys.readouterr().out == "pooler_output: differs by 0.01 at most\n"


class TorchsAdamW(torch.optim.AdamW):
    """torch's AdamW with rates by which it decays last and leaves ε uncorrected."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float, **_: Any) -> None:
        super().__init__(params, lr=lr)
        self._lr, self._decay, self._step = lr, lr * weight_decay, 0

    def step(self, closure: Any = None) -> None:
        self._step += 1
        (group,) = self.param_groups
        root = math.sqrt(1 - group["betas"][1] ** self._step)
        group["lr"] = (1 - self._decay) * self._lr
        group["eps"], group["weight_decay"] = 1e-6 / root, self._decay / group["lr"]
        super().step(closure)


def test_the_optimizers_numbers_are_torchs() -> None:
    record = fitted_points()
    theirs = optimizer_test.fitted(dict(record.inputs), TorchsAdamW)
    assert torch.allclose(record.expected["weight"], theirs, atol=1e-6, rtol=1e-4)
    assert (record.expected["weight"] - record.inputs["weight"]).abs().max() > 0.1


def test_the_optimizer_test_ends_in_1_for_another_optimizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.save(tmp_path / "optimizer_test.safetensors", {optimizer_test.NAME: fitted_points()})
    assert optimizer_test.main(tmp_path) == 0
    monkeypatch.setattr(
        optimizer_test,
        "AdamW",
        lambda params, lr, **_: torch.optim.AdamW(params, lr=lr, weight_decay=0.1),
    )
    assert optimizer_test.main(tmp_path) == 1
    said = capsys.readouterr().out
    assert said.startswith("Your AdamW is right.\nwrong: found")
