"""What reports call the tasks."""

from __future__ import annotations

from collections.abc import Mapping

TITLES: Mapping[str, str] = {"sst": "SST", "para": "Quora", "sts": "STS", "cfimdb": "CFIMDB"}
