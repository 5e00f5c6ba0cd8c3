"""AdamW over 1,000 steps: python optimizer_test.py (README.md says when).

A linear map is fitted to random points. Its weights after the last step are compared with recorded
ones.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from minbert.classroom.recorded import load
from minbert.support.randomness import generator
from minbert.training.optimizer import AdamW

NAME = "optimizer test"
STEPS, SETTINGS = 1000, {"lr": 1e-3, "weight_decay": 1e-4, "correct_bias": True}
ATOL, RTOL = 1e-6, 1e-4


def start() -> dict[str, Tensor]:
    """The weights to begin with (2, 3), and the points x (STEPS, 3)."""
    source = generator(0)
    weight, points = (torch.randn(*shape, generator=source) for shape in ((2, 3), (STEPS, 3)))
    return {"weight": weight, "points": points}


def fitted(given: dict[str, Tensor], optimizer: Callable[..., torch.optim.Optimizer]) -> Tensor:
    """The weights (2, 3) after a step for each of the points."""
    weight = nn.Parameter(given["weight"].clone())
    descent = optimizer([weight], **SETTINGS)
    for x in given["points"]:
        y = torch.stack([x[0] + x[1], -x[2]])
        (weight @ x - y).square().mean().backward()
        descent.step()
        descent.zero_grad()
    return weight.detach()


def main(folder: Path) -> int:
    """Compare with what was recorded in `folder`; returns the exit code."""
    record = load(folder / "optimizer_test.safetensors")[NAME]
    found, right = fitted(dict(record.inputs), AdamW), record.expected["weight"]
    near = torch.allclose(found, right, atol=ATOL, rtol=RTOL)
    said = f"wrong: found\n{found}\nexpected\n{right}"
    sys.stdout.write("Your AdamW is right.\n" if near else f"{said}\n")
    return 0 if near else 1


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parent / "tests" / "recorded"))
