"""Pretraining as it is typed: tokens a second, for the bundled shape and for a larger one."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from minbert.experiments.gpu.findings import Facts, Findings
from minbert.experiments.gpu.job import facts_of
from minbert.experiments.gpu.material import Setting
from minbert.pretrain.__main__ import main
from minbert.support.errors import RunError
from minbert.support.places import BUNDLED_ENCODER

_SHAPES = {"4 layers of 256": (4, 256, 4), "12 layers of 768": (12, 768, 12)}
_TINY = {"1 layer of 16": (1, 16, 2)}


def measure(setting: Setting, findings: Findings) -> None:
    """Train masked words on the texts of the tasks, with the bundled vocabulary."""
    with tempfile.TemporaryDirectory() as name:
        for title, shape in (_TINY if setting.tiny else _SHAPES).items():
            findings.add(title, _trained, setting, Path(name), shape, need=8)


def _trained(setting: Setting, place: Path, shape: Sequence[int]) -> Facts:
    layers, hidden_size, heads = map(str, shape)
    rows, length = ("4", "16") if setting.tiny else ("256", "128")
    out = place / f"run{hidden_size}"
    texts = [str(setting.data_dir / name) for name in ("quora-dev.csv", "ids-sst-train.csv")]
    flags = ["--text", *texts, "--no_nsp", "--vocab", str(BUNDLED_ENCODER), "--dropout", "0"]
    flags += ["--layers", layers, "--hidden_size", hidden_size, "--attention_heads", heads]
    flags += ["--embeddings", "random", "--sequence_length", length, "--scorings", "1"]
    flags += ["--batch_size", rows, "--micro_batch_size", rows, "--scored_rows", rows]
    flags += ["--steps", str(setting.sizes.pretrain_steps), "--device", setting.kind]
    flags += ["--cache", str(place / "text"), "--output_dir", str(out)]
    if (code := main(flags)) != 0:
        raise RunError(f"pretraining ended with exit code {code}")
    return facts_of(out)
