"""The role that a file's name claims, however it is spelled."""

import importlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from minbert.grade import recognise
from minbert.grade.gold import Part
from minbert.tasks import registry


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("sst-dev-output.csv", Part("sst", "dev")),
        ("Quora-Test-Student-Out.TSV", Part("para", "test")),
        ("a/b/finetune-cfimdb-dev-out.csv", Part("cfimdb", "dev")),
        ("full-model-sts-test-out.txt", Part("sts", "test")),
    ],
)
def test_names_claim_a_part(name: str, part: Part) -> None:
    role = recognise.claimed(name)
    assert role is not None and role.part == part


@pytest.mark.parametrize("name", ["sst.csv", "sst-train-output.csv", "nli-dev-output.csv", ""])
def test_other_names_claim_nothing(name: str) -> None:
    assert recognise.claimed(name) is None


def test_the_handouts_folder_is_nearest_then_its_names_then_the_top() -> None:
    names = [
        "x/predictions/sst-dev-output.csv",
        "x/y/Predictions/finetune-cfimdb-test-out.csv",
        "predictions/Sst-dev-output.csv",
        "a/b/para-dev-output.csv",
        "a.csv",
        "b.csv",
        "a/a.csv",
    ]
    assert sorted(set(names), key=recognise.remoteness) == names


@pytest.fixture
def capitals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry whose SST has a name and a split in capitals."""
    files = {"train": "a", "dev": "b", "dev_MM": "c"}
    task = replace(registry.TASKS["sst"], name="MNLI", files=files)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "TASKS", {"MNLI": task})
        importlib.reload(recognise)
        yield
    importlib.reload(recognise)


@pytest.mark.usefixtures("capitals")
def test_a_task_may_have_capitals_in_its_name() -> None:
    role = recognise.claimed("mnli-dev_mm-out.csv")
    assert role is not None and role.part == Part("MNLI", "dev_MM")
