"""The precision that a run computes in, decided where it computes and before its name is made."""

import dataclasses
from typing import TypeVar

import torch

from minbert.finetune.config import RunConfig
from minbert.regularizers import registry
from minbert.support.console import log
from minbert.support.device import pick_precision
from minbert.training.precision import agreed

Config = TypeVar("Config", bound=RunConfig)


def with_precision(config: Config, device: torch.device) -> Config:
    """`config` with the precision that it has on `device`, alike on all ranks: `fp32` or `bf16`.

    A line says so where that depends on the processor.
    """
    found = agreed(config.precision, device, lowers=registry.lowers(config))
    if config.precision == "auto" and found == "bf16" and device.type == "cpu":
        log.info("--precision auto: bf16, which is faster on this processor; on others it is fp32")
    return dataclasses.replace(config, precision=found)


def comparable(config: Config) -> Config:
    """`config` with the precision that it has where its scores stand beside those of others.

    All rows of a comparison have one. On a CPU that is fp32 unless asked otherwise, since not every
    row could be faster in bf16. A GPU that this machine has not is taken for one that has bf16.
    """
    away = config.device == "cuda" and not torch.cuda.is_available()
    auto = "bf16" if away else pick_precision("auto", torch.device(_kind(config)), lowers=False)
    return dataclasses.replace(config, precision=auto) if config.precision == "auto" else config


def _kind(config: RunConfig) -> str:
    here = "cuda" if torch.cuda.is_available() else "cpu"
    return here if config.device == "auto" else config.device
