"""Which submissions there are, what they are called, and which of their files count."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from minbert.grade.gold import Gold, Part
from minbert.grade.reading import read_all
from minbert.grade.submission import Source, Submission, locate, read
from minbert.support.console import log
from minbert.support.errors import InputError
from tests.grade.submissions import FORMS, gold_of, guesses, hand_in, ids_of, spelled, zipped


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Gold:
    return gold_of(tmp_path_factory.mktemp("gold"))


def names(*paths: Path) -> list[str]:
    return [source.name for source in locate(paths)]


def only(path: Path, gold: Gold) -> Submission:
    (source,) = locate([path])
    return read(source, gold)


# --------------------------------------------------------------------------------------- finding


def test_one_submission_as_folder_files_or_zip(tmp_path: Path, gold: Gold) -> None:
    for folder in (tmp_path / "anna", tmp_path / "ben" / "predictions"):
        hand_in(folder, gold, guesses(gold))
    archive = zipped(tmp_path / "anna", tmp_path / "carl.zip")
    files = sorted((tmp_path / "anna").iterdir())
    assert names(tmp_path / "anna") == ["anna"]
    assert names(tmp_path / "ben") == ["ben"]
    assert names(archive) == ["carl"]
    assert names(*files) == ["anna"]
    read_so = [read(locate(paths)[0], gold) for paths in ([tmp_path / "anna"], files, [archive])]
    for one in read_so:
        assert one.problems == []
        assert one.predictions.keys() == {(None, "sst"), (None, "para"), (None, "sts")}


def test_a_class_is_each_folder_and_archive(tmp_path: Path, gold: Gold) -> None:
    hand_in(tmp_path / "anna" / "project" / "out", gold, guesses(gold))
    zipped(tmp_path / "anna", tmp_path / "ben.zip")
    (tmp_path / "carl.rar").write_bytes(b"Rar!")
    (tmp_path / "dora").mkdir()
    (tmp_path / "emil").symlink_to(tmp_path / "anna")
    (tmp_path / "marks.txt").write_text("")
    assert names(tmp_path) == ["anna", "ben", "carl.rar", "dora", "emil"]
    problems = {
        one.name: [p.what for p in one.problems] for one in read_all(locate([tmp_path]), gold)
    }
    assert problems["anna"] == problems["ben"] == []
    for name, word in (("carl.rar", "unpack"), ("dora", "no prediction file"), ("emil", "link")):
        assert len(problems[name]) == 1 and word in problems[name][0]


def test_equal_names_are_told_apart_by_their_paths(tmp_path: Path, gold: Gold) -> None:
    hand_in(tmp_path / "anna", gold, guesses(gold))
    zipped(tmp_path / "anna", tmp_path / "anna.zip")
    assert names(tmp_path) == [str(tmp_path / "anna"), str(tmp_path / "anna.zip")]


def test_the_current_folder_has_its_own_name(
    tmp_path: Path, gold: Gold, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(tmp_path / "anna", gold, guesses(gold))
    monkeypatch.chdir(tmp_path / "anna")
    assert names(Path()) == names(Path("sst-dev-output.csv")) == ["anna"]


def test_a_typed_link_is_followed(tmp_path: Path, gold: Gold) -> None:
    hand_in(tmp_path / "anna", gold, guesses(gold))
    (tmp_path / "mine").symlink_to(tmp_path / "anna")
    assert names(tmp_path / "mine") == ["mine"]
    assert only(tmp_path / "mine", gold).problems == []


def test_links_for_files_are_one_submission_that_is_not_read(tmp_path: Path, gold: Gold) -> None:
    hand_in(tmp_path / "anna", gold, guesses(gold))
    (tmp_path / "ben").mkdir()
    for file in (tmp_path / "anna").iterdir():
        (tmp_path / "ben" / file.name).symlink_to(file)
    found = only(tmp_path / "ben", gold)
    assert found.name == "ben" and found.predictions == {}
    assert len([problem for problem in found.problems if problem.kind == "link"]) == 3


def test_a_path_typed_twice_is_one(tmp_path: Path, gold: Gold) -> None:
    me = hand_in(tmp_path / "anna", gold, guesses(gold))
    assert names(me, tmp_path / "anna" / ".." / "anna") == ["anna"]
    file = me / "sst-dev-output.csv"
    assert locate([file, file])[0].files == (file,)


def test_long_names_that_are_cut_alike_stay_apart(tmp_path: Path) -> None:
    for last in "ab":
        (tmp_path / ("n" * 150 + last)).mkdir()
    first, second = names(tmp_path)
    assert first != second and second.endswith(" (2)")


def test_a_folder_may_be_called_like_a_zip(tmp_path: Path, gold: Gold) -> None:
    hand_in(tmp_path / "anna.zip", gold, guesses(gold))
    assert names(tmp_path) == ["anna.zip"]


def test_what_is_left_out_is_said(
    tmp_path: Path, gold: Gold, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level("INFO", "minbert")
    hand_in(tmp_path / "anna", gold, guesses(gold))
    zipped(tmp_path / "anna", tmp_path / "ben.zip")
    (tmp_path / "ben").write_bytes(b"PK")
    (tmp_path / "carl.zip").write_bytes(b"id,Predicted_Sentiment\n")  # named as an archive: no file
    assert names(tmp_path) == ["anna", "ben", "carl"]
    assert "neither folder nor archive: ben" in caplog.text
    (tmp_path / "sst-dev-output.csv").touch()  # now it looks as one submission
    assert names(tmp_path) == [tmp_path.name]
    assert "sst-dev-output.csv lies in it; what is not opened there: ben.zip and 1" in caplog.text


def test_a_typed_file_that_cannot_be_read_is_a_problem_and_no_end(
    tmp_path: Path, gold: Gold, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "anna.csv"
    file.touch()

    def refused(path: Path, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.open", refused)  # the tests may run as a user who may read anything
    found = only(file, gold)
    assert [problem.what for problem in found.problems] == ["cannot be read (Permission denied)"]


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        locate([tmp_path / "nowhere"])


# --------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize(
    "name",
    ["{task}-{split}-output.csv", "finetune-{task}-{split}-out.csv", "any{task}{split}.txt"],
)
def test_every_form_and_name_gives_the_same_predictions(
    tmp_path: Path, gold: Gold, form: object, name: str
) -> None:
    values = guesses(gold)
    found = only(hand_in(tmp_path / "anna", gold, values, form, name=name), gold)  # type: ignore[arg-type]
    assert found.problems == []
    assert {task for _, task in found.predictions} == set(values)
    for (_, task), predictions in found.predictions.items():
        np.testing.assert_array_equal(predictions, values[task])


def test_options_are_kept_apart(tmp_path: Path, gold: Gold) -> None:
    for seed, name in enumerate(
        (
            "{task}-{split}-output.csv",
            "last-linear-layer-{task}-{split}-out.csv",
            "full-model-{task}-{split}-out.csv",
        )
    ):
        hand_in(tmp_path / "anna", gold, {"sst": guesses(gold, seed=seed)["sst"]}, name=name)
    found = only(tmp_path / "anna", gold)
    assert found.problems == []
    assert found.predictions.keys() == {(None, "sst"), ("pretrain", "sst"), ("finetune", "sst")}


def test_test_files_are_checked_and_not_scored(tmp_path: Path, gold: Gold) -> None:
    values = guesses(gold)
    hand_in(tmp_path / "anna", gold, values)
    hand_in(tmp_path / "anna", gold, values, split="test")
    found = only(tmp_path / "anna", gold)
    assert found.problems == [] and len(found.checked) == 6
    assert found.predictions.keys() == {(None, "sst"), (None, "para"), (None, "sts")}
    path = tmp_path / "anna" / "sts-test-output.csv"
    path.write_bytes(path.read_bytes() + b"nobody , 1\n")
    assert [(p.file, p.line) for p in only(tmp_path / "anna", gold).problems] == [(path.name, 18)]


def test_a_copy_is_fine_and_another_version_is_not(tmp_path: Path, gold: Gold) -> None:
    values = guesses(gold)
    hand_in(tmp_path / "anna", gold, values)
    hand_in(tmp_path / "anna" / "copy", gold, values)
    assert only(tmp_path / "anna", gold).problems == []
    other = hand_in(tmp_path / "anna" / "copy", gold, {"sst": guesses(gold, seed=9)["sst"]})
    found = only(tmp_path / "anna", gold)
    assert [problem.file for problem in found.problems] == ["copy/sst-dev-output.csv"]
    assert "sst-dev-output.csv, which is graded" in found.problems[0].what
    np.testing.assert_array_equal(found.predictions[None, "sst"], values["sst"])
    assert other.is_dir()


def test_a_well_named_file_wins_over_a_misnamed_one(tmp_path: Path, gold: Gold) -> None:
    values = guesses(gold)
    hand_in(tmp_path / "anna", gold, values)
    misnamed = spelled("sst", ids_of(gold, Part("sst", "dev")), [4.0, 3.0] * 8)
    (tmp_path / "anna" / "para-dev-output.csv").write_bytes(misnamed)
    found = only(tmp_path / "anna", gold)
    assert {problem.kind for problem in found.problems} == {"name", "double"}
    np.testing.assert_array_equal(found.predictions[None, "sst"], values["sst"])


def test_an_archive_inside_is_mentioned(tmp_path: Path, gold: Gold) -> None:
    (tmp_path / "anna").mkdir()
    with zipfile.ZipFile(tmp_path / "anna" / "in.zip", "w") as made:
        made.writestr("a", "b")
    found = read(Source("anna", tmp_path / "anna"), gold)
    assert "archive inside" in found.problems[0].what


HOMES = [  # from the handout's place and name on, before depth and alphabet
    "deep/down/predictions/sst-dev-output.csv",
    "a/predictions/x.csv",
    "b/sst-dev-output.csv",
    "a/quora-like.csv",
    "z/y.csv",
]


@pytest.mark.parametrize("pack", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("best", range(len(HOMES)))
def test_the_handouts_place_and_name_decide_which_file_counts(
    tmp_path: Path, gold: Gold, best: int, pack: bool
) -> None:
    ids = ids_of(gold, Part("sst", "dev"))
    draws = {name: guesses(gold, seed=i)["sst"] for i, name in enumerate(HOMES[best:])}
    for name, values in draws.items():
        path = tmp_path / "anna" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(spelled("sst", ids, values))
    path = zipped(tmp_path / "anna", tmp_path / "anna.zip") if pack else tmp_path / "anna"
    found = read(Source("anna", path), gold)
    np.testing.assert_array_equal(found.predictions[None, "sst"], draws[HOMES[best]])
    assert [problem.file for problem in found.problems] == HOMES[best + 1 :]
    assert all(f"than {HOMES[best]}, which" in problem.what for problem in found.problems)


def test_the_handouts_place_may_be_the_submission_itself(tmp_path: Path, gold: Gold) -> None:
    mine, old = guesses(gold), guesses(gold, seed=9)
    hand_in(tmp_path / "predictions", gold, mine)
    hand_in(tmp_path / "predictions" / "a" / "predictions", gold, old)
    for path in (
        tmp_path / "predictions",
        zipped(tmp_path / "predictions", tmp_path / "predictions.zip"),
    ):
        found = only(path, gold)
        np.testing.assert_array_equal(found.predictions[None, "sst"], mine["sst"])


@pytest.mark.parametrize("pack", [False, True], ids=["folder", "zip"])
def test_the_files_that_count_are_read_however_many_others_there_are(
    tmp_path: Path, gold: Gold, pack: bool
) -> None:
    values = guesses(gold)
    hand_in(tmp_path / "anna" / "zz" / "predictions", gold, values)
    hand_in(tmp_path / "anna" / "zz" / "predictions", gold, values, split="test")
    hand_in(
        tmp_path / "anna", gold, {"sst": values["sst"]}, name="zz/finetune-{task}-{split}-out.csv"
    )
    for number in range(40):
        hand_in(tmp_path / "anna" / f"run{number:02d}", gold, guesses(gold, seed=number + 1))
    path = zipped(tmp_path / "anna", tmp_path / "anna.zip") if pack else tmp_path / "anna"
    found = read(Source("anna", path), gold)
    for task in values:
        np.testing.assert_array_equal(found.predictions[None, task], values[task])
    assert found.predictions.keys() >= {("finetune", "sst")}
    assert len(found.checked) == 32
    (many,) = [problem.what for problem in found.problems if problem.kind == "many"]
    assert "run" in many and "and 94 more" in many


def test_a_column_of_their_own_is_no_defect(tmp_path: Path, gold: Gold) -> None:
    me = hand_in(tmp_path / "anna", gold, guesses(gold))
    own = {"cola-dev-output.csv": "1\t0\n2\t1", "doubt.csv": "sstd001\t.3", "empty.csv": ""}
    for name, rows in own.items():
        (me / name).write_text(f"id\tPredicted_Linguistic\n{rows}\n")
    for found in (only(me, gold), read(locate(sorted(me.iterdir()))[0], gold)):
        assert found.problems == [] and len(found.predictions) == 3
        assert found.unchecked == dict.fromkeys(own, "none of the course's columns")


@pytest.mark.parametrize(
    "column", ["Predicted_Sentimant", "predicted_sentiment", "Predicted_Sentiments"]
)
def test_a_misspelled_column_is_the_courses(tmp_path: Path, gold: Gold, column: str) -> None:
    me = hand_in(tmp_path / "anna", gold, {"sst": guesses(gold)["sst"]}, name="mine.csv")
    path = me / "mine.csv"
    path.write_text(path.read_text().replace("Predicted_Sentiment", column))
    found = only(me, gold)
    assert found.predictions.keys() == {(None, "sst")}
    assert [problem.kind for problem in found.problems] == ["header"]


def test_a_zip_that_is_none(tmp_path: Path, gold: Gold) -> None:
    (tmp_path / "anna.zip").write_bytes(b"\0\1\2junk")
    found = only(tmp_path / "anna.zip", gold)
    assert len(found.problems) == 1 and "not a zip" in found.problems[0].what
