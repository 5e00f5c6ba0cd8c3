"""The precision of the training passes, alike on all ranks."""

import torch

from minbert.support.device import pick_precision
from minbert.training import group


def agreed(asked: str, device: torch.device, *, lowers: bool) -> str:
    """`pick_precision`, alike on all ranks: an `auto` is bf16 only where it is for every one."""
    found = pick_precision(asked, device, lowers=lowers)
    return "fp32" if group.highest(int(found == "fp32")) else found
