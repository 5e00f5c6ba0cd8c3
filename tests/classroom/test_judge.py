"""What is said of outputs: what is missing, its shape, a known mistake, else where it differs."""

from __future__ import annotations

from pathlib import Path

import torch

from minbert.classroom.judge import Mistake, agree, problem
from minbert.classroom.recorded import Recorded, load, save

RIGHT = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "n": torch.tensor(3)}


def said(**changes: object) -> str | None:
    mistakes = [Mistake("it was doubled", {**RIGHT, "a": 2 * RIGHT["a"]})]
    return problem({**RIGHT, **changes}, RIGHT, mistakes)  # type: ignore[dict-item]


def test_right_outputs_pass_in_either_precision_and_up_to_rounding() -> None:
    assert said() is None
    assert said(a=RIGHT["a"].double() * (1 + 1e-6)) is None


def test_the_first_thing_to_mend_is_named() -> None:
    assert said(a=None) == "a: is NoneType, not a tensor"
    assert said(a=torch.ones(4)) == "a: has shape (4,), should have (2, 2)"
    assert said(a=RIGHT["a"] / 0) == "a: holds numbers that are not finite (nan or inf)"
    assert said(a=2 * RIGHT["a"]) == "it was doubled"
    wrong = RIGHT["a"].clone()
    wrong[1, 0] = 7
    words = "a: 25% of its numbers are wrong, most of all at [1, 0], where it has 7 and should have"
    assert said(a=wrong) == f"{words} 3"
    assert "n: 100%" in str(said(n=torch.tensor(4)))


def test_a_missing_output_never_agrees() -> None:
    assert not agree({"a": RIGHT["a"]}, RIGHT)
    assert agree(RIGHT, {"a": RIGHT["a"]})


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    mask = torch.tensor([True, False])
    one = Recorded({"mask": mask}, RIGHT, (Mistake("½ is missing", {"a": RIGHT["a"].T}),))
    save(tmp_path / "x.safetensors", {"one": one, "none": Recorded({}, {"b": mask})})
    again = load(tmp_path / "x.safetensors")
    assert list(again) == ["one", "none"]
    assert torch.equal(again["one"].inputs["mask"], mask) and again["none"].inputs == {}
    assert again["one"].mistakes[0].words == "½ is missing"
    assert torch.equal(again["one"].mistakes[0].outputs["a"], RIGHT["a"].T)
    assert problem(again["one"].expected, RIGHT) is None
