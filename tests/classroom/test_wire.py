"""What crosses the border of a submission's process: read within bounds, whatever it is."""

from __future__ import annotations

import json
import random

import pytest
import torch
from safetensors.torch import save

from minbert.classroom.marking.wire import (
    Broken,
    packed,
    packed_inputs,
    unpacked,
    unpacked_inputs,
)

FOUND = {"a": torch.randn(2, 3, dtype=torch.float64), "n": torch.tensor(3)}


def answer(blob: bytes, **changes: object) -> bytes:
    return (
        json.dumps({"errors": {}, "sizes": {"one": len(blob)}, **changes}).encode() + b"\n" + blob
    )


def test_inputs_and_outcomes_come_through() -> None:
    inputs = {"one": {"x": torch.ones(2, 3).T, "mask": torch.tensor([True])}, "none": {}}
    again = unpacked_inputs(packed_inputs(inputs))
    assert again.keys() == {"one"}
    assert all(torch.equal(again["one"][name], t) for name, t in inputs["one"].items())
    found = unpacked(packed({"one": {**FOUND, "a": FOUND["a"].T}, "two": "Error: ½"}))
    assert found["two"] == "Error: ½"
    assert isinstance(found["one"], dict) and torch.equal(found["one"]["a"], FOUND["a"].T)


def test_what_has_no_plain_numbers_is_an_error_of_its_exercise() -> None:
    found = unpacked(
        packed(
            {
                "right": FOUND,
                "large": {"a": torch.zeros(2**20)},
                "complex": {"a": torch.zeros(2, dtype=torch.complex64)},
                "words": {"a": "b"},  # type: ignore[dict-item]
                "long": "\x1b[31m" + "x" * 10_000,
            }
        )
    )
    assert isinstance(found.pop("right"), dict)
    assert "far too large" in str(found["large"]) and "no plain numbers" in str(found["complex"])
    assert str(found["words"]).startswith("AttributeError")
    assert str(found["long"]).startswith("\\x1b[31mxxx") and len(found["long"]) < 310


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"errors": [], "sizes": {}}\n',
        b'{"errors": {}, "sizes": {"one": "3"}}\nabc',
        b'{"errors": {}, "sizes": {"one": -1}}\nabc',
        b'{"errors": {}, "sizes": {"one": 1e9}}\nabc',
        b"[" * 100_000 + b"\n",
        b'{"errors": {}, "sizes": {"one": 999999999999999999999}}\n',
        b"\xff\xfe\n",
    ],
)
def test_an_answer_of_none_of_ours_is_broken(content: bytes) -> None:
    with pytest.raises(Broken):
        unpacked(content)


@pytest.mark.parametrize(
    "blob",
    [
        bytes(8),
        b"x" * 100,
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        save(FOUND)[:-1],
        save(FOUND) + b"x",
        save({"a": torch.zeros(3).to(torch.float8_e4m3fn)}),
    ],
)
def test_damaged_outputs_cost_their_exercise(blob: bytes) -> None:
    found = unpacked(answer(blob))
    assert isinstance(found["one"], str)


def test_no_flipped_bit_raises_anything_else() -> None:
    source = random.Random(0)
    whole = packed({"one": FOUND, "two": "Error"})
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(source.randint(1, 4)):
            content[source.randrange(len(content))] ^= 1 << source.randrange(8)
        try:
            unpacked(bytes(content[: source.choice([len(content), 50, 200])]))
        except Broken:
            continue
