"""What the main job writes, from end to end, on tiny random encoders."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import torch

from minbert.finetune import cli
from minbert.support.places import SAMPLE
from tests.finetune.job.running import (
    COURSE_TASKS,
    MAIN,
    SIX,
    ids_of,
    ids_predicted,
    manifest,
    run,
    steps_logged,
    written,
)


def test_main_job_writes_the_six_files_of_the_course(place: Path) -> None:
    assert run(*MAIN) == 0
    files = written()
    assert sorted(files) == sorted(SIX)
    stems = {"sst": "ids-sst", "para": "quora", "sts": "sts"}
    headers = {
        "sst": b"id \t Predicted_Sentiment \n",
        "para": b"id \t Predicted_Is_Paraphrase \n",
        "sts": b"id \t Predicted_Similiary \n",
    }
    for task in COURSE_TASKS:
        for split, source in (("dev", "dev"), ("test", "test-student")):
            content = files[f"{task}-{split}-output.csv"]
            assert content.startswith(headers[task])
            assert re.fullmatch(rb"([^\n]* \n)+", content)
            assert ids_predicted(content) == ids_of(place / "data" / f"{stems[task]}-{source}.csv")


def test_every_id_is_due_even_of_a_row_that_cannot_be_scored(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dev = place / "data" / "quora-dev.csv"
    rows = dev.read_text().splitlines()
    rows[2:2] = ["90\tnolabel\ta good film\ta bad film\t", "91\tnotext\t\ta bad film\t1.0"]
    dev.write_text("\n".join(rows) + "\n")
    assert run("--option", "pretrain") == 0
    assert ids_predicted(written()["para-dev-output.csv"]) == ids_of(dev)
    reported = (Path("out") / "bad_rows.jsonl").read_text()
    assert "nolabel" in reported and "notext" in reported
    assert "quora-dev.csv: 2 of 18 rows reported" in capsys.readouterr().err


def test_manifest_tells_the_whole_run(place: Path) -> None:
    assert run(*MAIN, "--seed", "3") == 0
    told = manifest()
    assert told["status"] == "finished"
    assert (told["config"]["seed"], told["config"]["lr"], told["config"]["smart"]) == (
        3,
        1e-3,
        True,
    )
    assert told["config"]["batch_size"] == 8
    hashes = told["sha256"]
    assert {f"{t}_{s}" for t in COURSE_TASKS for s in ("train", "dev", "test")} < set(hashes)
    assert {"weights", "vocab.txt", "config.json"} < set(hashes)
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes.values())
    assert told["versions"]["torch"] == torch.__version__
    assert told["threads"] == torch.get_num_threads()
    assert isinstance(told["device"], str)
    assert told["git"] is None or re.fullmatch("[0-9a-f]{40}", told["git"]["commit"])
    assert set(told["dev"]) == set(COURSE_TASKS)
    assert [epoch["epoch"] for epoch in told["epochs"]] == [1, 2]
    for epoch in told["epochs"]:
        assert epoch["train_seconds"] > 0
        assert set(epoch["scores"]) == set(COURSE_TASKS)
    best = max(told["epochs"], key=lambda epoch: epoch["criterion"])
    assert told["best_epoch"] == best["epoch"]
    assert told["dev"] == best["scores"]
    # 16 rows whose labels are i mod 5, i mod 2 and i mod 6
    commonest = told["commonest_label"]
    assert commonest["sst"]["dev"]["accuracy"] == 4 / 16
    assert commonest["para"]["dev"]["accuracy"] == 8 / 16
    assert commonest["sts"]["dev"]["Pearson r"] == 0.0


def test_the_threads_that_were_asked_for_compute(place: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert run("--threads", "3", "--max_steps", "1") == 0
    finally:
        torch.set_num_threads(before)
    assert manifest()["threads"] == 3 != before


def test_log_has_one_line_a_step_with_each_term_apart(place: Path) -> None:
    assert run(*MAIN) == 0
    lines = steps_logged()
    assert [line["step"] for line in lines] == list(range(12))
    assert [line["task"] for line in lines] == list(COURSE_TASKS) * 4
    for line in lines:
        total = line["task_loss"] + 5 * line["adversarial"] + line["bregman"]
        assert line["loss"] == pytest.approx(total, rel=1e-4)
        assert line["lr"] == 1e-3
        assert line["grad_norm"] > 0 and line["tokens_per_s"] > 0
    assert lines[0]["bregman"] < 1e-8 < lines[-3]["bregman"]


def test_no_socket_is_opened(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the job opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert run(*MAIN) == 0


def test_bundled_sample_is_taken_where_the_course_files_are_absent(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (place / "data").iterdir():
        path.unlink()
    assert run("--rrobin", "--limit", "20", "--limit_rows", "first") == 0
    assert f"data: {SAMPLE}/ (the bundled synthetic sample" in capsys.readouterr().err
    assert ids_predicted(written()["sst-dev-output.csv"]) == ids_of(SAMPLE / "ids-sst-dev.csv")[:20]


def test_default_run_folder_is_named_after_the_configuration(place: Path) -> None:
    for seed in ("1", "2"):
        assert cli.main(["--weights", "encoder", "--epochs", "1", "--seed", seed]) == 0
    names = sorted(path.name for path in Path("runs").iterdir())
    assert [name.rsplit("-", 1)[0] for name in names] == [
        "pretrain-sst-seed1",
        "pretrain-sst-seed2",
    ]


def test_out_flags_are_relative_to_the_current_folder(place: Path) -> None:
    assert run("--sst_dev_out", "elsewhere/a.csv") == 0
    assert (place / "elsewhere" / "a.csv").read_bytes().startswith(b"id \t Predicted_Sentiment")
    assert len(written()) == 5


def test_out_file_may_have_any_name(place: Path) -> None:
    assert run("--sst_dev_out", "run{1}.csv") == 0
    assert (place / "run{1}.csv").is_file()


def test_equal_runs_write_equal_bytes_and_another_seed_does_not(place: Path) -> None:
    found = []
    for seed in ("1", "1", "2"):
        assert run(*MAIN, "--seed", seed) == 0
        found.append(written())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    "flags", [["--rrobin", "--lr", "100"], ["--lr", "100"], ["--tasks", "cfimdb", "--lr", "100"]]
)
def test_a_run_that_trains_nothing_is_marked_and_said_at_the_end(
    place: Path, capfd: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    for extra in ([], ["--resume"]):
        assert run("--option", "finetune", *flags, *extra) == 0
        assert manifest()["degenerate"] is True
        assert any("degenerate" in line for line in capfd.readouterr().err.splitlines()[-3:])


def test_a_run_that_learns_is_not_marked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (place / "data").glob(
        "ids-sst-dev.csv"
    ):  # what it trains on, so that it is learned
        path.write_text((place / "data" / "ids-sst-train.csv").read_text())
    assert run("--option", "finetune", "--epochs", "20", "--lr", "1e-2") == 0
    assert "degenerate" not in manifest()
    assert "degenerate" not in capsys.readouterr().err
