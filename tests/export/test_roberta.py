"""RoBERTa's and XLM-R's heads have the pooler in them, and answer alike in the other library."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.export.export import export
from minbert.predict import load
from minbert.tasks.registry import TASKS
from tests.data.other_tokenizers import save_other_encoder
from tests.export.test_main import assert_same_answers, random_rows
from tests.helpers import finished_run


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
def test_a_classifier_answers_alike(tmp_path: Path, kind: str) -> None:
    save_other_encoder(tmp_path / "encoder", kind)
    run = finished_run(tmp_path, cross_encoder=True)
    ask = load(run)
    for name in ("sst", "para", "sts"):
        (written,) = export(run, tmp_path / f"out-{name}", "transformers", [name])
        assert_same_answers(ask, name, written, random_rows(TASKS[name].is_pair))
