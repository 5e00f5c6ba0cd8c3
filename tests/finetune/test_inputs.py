"""Where a run's files come from: named ones win, then the folder given, then what lies there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from minbert.encoder import locate as encoder_location
from minbert.finetune.config import RunConfig
from minbert.finetune.inputs import locate
from minbert.support.errors import InputError
from minbert.support.places import SAMPLE
from tests.helpers import write_course_files

KEYS = [f"{task}_{split}" for task in ("sst", "para", "sts") for split in ("dev", "test")]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and a bundled encoder."""
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    monkeypatch.setattr(encoder_location, "BUNDLED_ENCODER", bundled)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def located(**typed: Any) -> RunConfig:
    """What `locate` makes of the flags that were typed."""
    return locate(RunConfig(**typed), typed)


def folders(config: RunConfig, keys: list[str]) -> set[Path]:
    return {Path(getattr(config, key)).parent for key in keys}


def test_without_anything_the_bundled_sample_is_taken() -> None:
    config = located(rrobin="equal")
    keys = [*KEYS, "sst_train", "para_train", "sts_train"]
    assert folders(config, keys) == {SAMPLE}
    assert all(Path(getattr(config, key)).is_file() for key in keys)


def test_the_courses_files_in_data_are_taken(here: Path) -> None:
    write_course_files(here / "data")
    config = located(rrobin="equal")
    assert folders(config, [*KEYS, "sst_train", "para_train", "sts_train"]) == {Path("data")}


def test_the_folder_given_wins_over_data(here: Path) -> None:
    write_course_files(here / "data")
    write_course_files(here / "mine")
    assert folders(located(data_dir="mine"), KEYS) == {Path("mine")}


def test_a_named_file_wins_over_the_folder_given(here: Path) -> None:
    write_course_files(here / "mine")
    shutil.copy(here / "mine" / "sts-dev.csv", here / "other.csv")
    config = located(data_dir="mine", sts_dev="other.csv")
    assert config.sts_dev == "other.csv"
    assert folders(config, [key for key in KEYS if key != "sts_dev"]) == {Path("mine")}


def test_a_file_named_by_its_default_name_wins_too(here: Path) -> None:
    write_course_files(here / "data")
    write_course_files(here / "mine")
    config = located(data_dir="mine", sst_dev="data/ids-sst-dev.csv")
    assert config.sst_dev == "data/ids-sst-dev.csv"


def test_when_every_file_is_named_no_folder_is_looked_at(here: Path) -> None:
    write_course_files(here / "mine")
    defaults = RunConfig()
    named = {key: f"mine/{Path(getattr(defaults, key)).name}" for key in [*KEYS, "sst_train"]}
    config = located(**named)
    assert {key: getattr(config, key) for key in named} == named


@pytest.mark.parametrize("gone", ["ids-sst-train.csv", "quora-dev.csv", "sts-test-student.csv"])
@pytest.mark.parametrize("data_dir", [None, "data"])
def test_some_of_the_courses_files_without_the_others_is_an_error(
    here: Path, gone: str, data_dir: str | None
) -> None:
    write_course_files(here / "data")
    (here / "data" / gone).unlink()
    with pytest.raises(InputError, match=f"lacks {gone}"):
        located(**({} if data_dir is None else {"data_dir": data_dir}))


def test_a_single_file_of_the_courses_is_enough_to_rule_the_sample_out(here: Path) -> None:
    write_course_files(here / "data", tasks=["cfimdb"])
    with pytest.raises(InputError, match=r"lacks .*ids-sst-dev\.csv.*sts-test-student\.csv"):
        located()


def test_files_that_the_run_does_not_need_may_be_absent(here: Path) -> None:
    write_course_files(here / "data")  # no CFIMDB
    (here / "data" / "quora-train.csv").unlink()  # sst alone trains
    assert folders(located(), KEYS) == {Path("data")}
    with pytest.raises(InputError, match=r"lacks .*ids-cfimdb-train\.csv"):
        located(tasks=("cfimdb",))


def test_a_gap_may_be_filled_by_a_named_file(here: Path) -> None:
    write_course_files(here / "data")
    (here / "data" / "sts-dev.csv").rename(here / "elsewhere.csv")
    config = located(sts_dev="elsewhere.csv")
    assert config.sts_dev == "elsewhere.csv"
    assert folders(config, [key for key in KEYS if key != "sts_dev"]) == {Path("data")}


def test_named_files_and_the_sample_are_never_mixed(here: Path) -> None:
    write_course_files(here / "mine")
    with pytest.raises(InputError, match=r"--sts_dev is named.*synthetic sample"):
        located(sts_dev="mine/sts-dev.csv")


def test_links_that_lead_nowhere_are_no_absence(here: Path) -> None:
    (here / "data").mkdir()
    (here / "data" / "sts-dev.csv").symlink_to("/no/such/place")
    with pytest.raises(InputError, match=r"data/ lacks .*sts-dev\.csv"):
        located()


def test_a_folder_named_data_without_the_courses_files_is_no_course_folder(here: Path) -> None:
    (here / "data" / "sample").mkdir(parents=True)
    (here / "data" / "notes.txt").write_text("x")
    assert folders(located(), KEYS) == {SAMPLE}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"data_dir": "absent"}, "--data_dir absent: no such folder"),
        ({"sts_dev": "absent.csv"}, "--sts_dev absent.csv: no such file"),
        ({"weights": "absent"}, "--weights absent: no such folder, and no checkpoint of that name"),
    ],
)
def test_what_was_named_and_is_not_there_is_an_error(typed: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        located(**typed)


def test_the_encoder_is_found_too_and_both_places_are_logged(
    here: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert located().weights == str(tmp_path / "bundled")
    (here / "mine").mkdir()
    with caplog.at_level("INFO", logger="minbert"):
        assert located(weights="mine").weights == "mine"
    assert "weights: mine/" in caplog.text
    assert "data: " in caplog.text


def test_locating_changes_nothing_else() -> None:
    config = RunConfig(option="finetune", lr=1e-4, epochs=3)
    found = locate(config, {"option", "lr", "epochs"})
    assert (found.option, found.lr, found.epochs, found.sst_dev_out) == (
        *("finetune", 1e-4, 3),
        config.sst_dev_out,
    )


def test_what_is_missing_can_be_fetched_with_a_command_that_is_named(here: Path) -> None:
    write_course_files(here / "data", tasks=["sst"])
    with pytest.raises(InputError, match=r"python -m minbert\.download --data"):
        located()
