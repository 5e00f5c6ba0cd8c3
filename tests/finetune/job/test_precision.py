"""`--precision auto`: what a run takes on which processor, and that all it leaves says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minbert.finetune import cli
from minbert.support import device
from tests.finetune.job.running import complaint, manifest, run

FEW = ("--max_steps", "2", "--dev_only", "--tasks", "sts")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor has products of bf16 numbers."""
    monkeypatch.setattr(device, "multiplies_bf16", lambda: True)


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("", "bf16"),
        ("--freelb", "bf16"),
        ("--r3f", "bf16"),
        ("--r4f --cross_encoder", "bf16"),
        ("--option pretrain --rlayer", "bf16"),
        ("--smart", "fp32"),
        ("--smart --r3f", "fp32"),
        ("--r3f --r3f_dropout shared", "fp32"),
        ("--r3f --r3f_dropout off", "fp32"),
        ("--r3f --hidden_dropout_prob 0", "fp32"),
        ("--precision fp32", "fp32"),
        ("--smart --precision bf16", "bf16"),
    ],
)
@pytest.mark.usefixtures("place", "able")
def test_manifest_and_checkpoint_name_what_was_used(
    flags: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--option", "finetune", *FEW, *flags.split()) == 0
    said = capsys.readouterr().err
    assert f"device cpu, {found}" in said
    assert ("--precision auto: bf16" in said) == (found == "bf16" and "--precision" not in flags)
    assert manifest()["config"]["precision"] == found
    state = json.loads(Path("out/finished/state.json").read_text())
    assert state["settings"]["precision"] == found


@pytest.mark.usefixtures("place")
def test_the_same_command_on_another_processor_does_not_go_on_with_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--option", "finetune", *FEW) == 0
    assert manifest()["config"]["precision"] == "fp32"
    monkeypatch.setattr(device, "multiplies_bf16", lambda: True)
    capsys.readouterr()
    assert run("--option", "finetune", *FEW, "--resume") == 2
    assert "precision was fp32, is bf16" in complaint(capsys)
    assert run("--option", "finetune", *FEW, "--resume", "--precision", "fp32") == 0


@pytest.mark.usefixtures("place", "able")
def test_the_same_command_on_two_processors_has_two_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["--weights", "encoder", "--option", "finetune", *FEW, "--epochs", "1"]
    for answer in (True, False):
        monkeypatch.setattr(device, "multiplies_bf16", lambda answer=answer: answer)
        assert cli.main(command) == 0
    assert len(list(Path("runs").iterdir())) == 2
