"""Which of a submission's files count, wherever they lie, and that nothing else is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from minbert.classroom.marking.submission import HandedIn, files_with_holes, handed_in
from minbert.classroom.steps import steps_of
from minbert.grade.submission import Source

STEPS = steps_of("course")
WANTED = files_with_holes(STEPS)
BERT, ATTENTION = Path("minbert/encoder/bert.py"), Path("minbert/encoder/attention.py")
TEXTS = {
    path: "\n".join(f"    def {name}(self): ...  # {path}" for name in names).encode()
    for path, names in WANTED.items()
}


def written(folder: Path, files: dict[Path, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def read(path: Path) -> HandedIn:
    return handed_in(Source("it", path), STEPS)


@pytest.mark.parametrize("below", ["", "starter", "a/b c"])
def test_the_starters_folders_are_found(tmp_path: Path, below: str) -> None:
    rest = {Path("bert.py"): b"from minbert.encoder.bert import BertModel", Path("x.txt"): b"x"}
    written(tmp_path / below, {**TEXTS, **rest})
    assert read(tmp_path) == HandedIn(TEXTS, {}, [])


def test_a_zip_is_read_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        for path, content in TEXTS.items():
            archive.writestr(f"mine/{path.as_posix()}", content)
        archive.writestr("mine/../../minbert/model.py", b"outside")
    assert read(tmp_path / "it.zip") == HandedIn(TEXTS, {}, [])


def test_loose_modules_are_told_by_what_they_define(tmp_path: Path) -> None:
    loose = {Path(path.name): content for path, content in TEXTS.items()}
    written(tmp_path, {**loose, Path("tests/heads.py"): b"def test_heads(): ..."})
    assert read(tmp_path) == HandedIn(TEXTS, {}, [])
    (tmp_path / "bert.py").write_bytes(b"from minbert.encoder.bert import BertModel")
    found = read(tmp_path)
    assert BERT not in found.with_holes
    assert found.notes == ["minbert/encoder/bert.py: not in the submission"]


def test_the_copy_nearest_to_the_top_counts(tmp_path: Path) -> None:
    written(tmp_path / "new", TEXTS)
    written(tmp_path / "old" / "backup", dict.fromkeys(TEXTS, b"old"))
    assert read(tmp_path).with_holes == TEXTS


def test_a_module_that_the_student_added_is_taken_and_ours_are_not(tmp_path: Path) -> None:
    added = {Path("minbert/encoder/my_help.py"): b"x = 1", Path("minbert/mine/deep.py"): b"y = 2"}
    ours = {Path("minbert/tasks/task.py"): b"hacked", Path("minbert/classroom/judge.py"): b"hacked"}
    written(tmp_path, {**TEXTS, **added, **ours})
    found = read(tmp_path)
    assert found == HandedIn(TEXTS, added, [])
    step = STEPS[0]
    assert found.of(step) == {**added, ATTENTION: TEXTS[ATTENTION]}


def test_added_files_that_are_no_modules_are_left_out(tmp_path: Path) -> None:
    """Names that no file here can have, and folders with the names of files."""
    odd = ["model.py/x.py", f"{'a' * 300}.py", f"{'a/' * 200}x.py", "my-notes.py", "a b/c.py"]
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        for path, content in TEXTS.items():
            archive.writestr(path.as_posix(), content)
        for name in [*odd, "mine.py", "mine.py/x.py"]:
            archive.writestr(f"minbert/{name}", b"")
    found = read(tmp_path / "it.zip")
    assert found == HandedIn(TEXTS, {Path("minbert/mine.py"): b""}, [])


def test_links_and_giants_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_bytes(TEXTS[ATTENTION])
    folder = written(tmp_path / "it", TEXTS)
    (folder / ATTENTION).unlink()
    (folder / ATTENTION).symlink_to(secret)
    (folder / BERT).write_bytes(b"#" * (2**20 + 1))
    found = read(folder)
    assert found.with_holes.keys() == TEXTS.keys() - {ATTENTION, BERT}
    assert found.notes == [
        "minbert/encoder/attention.py: not in the submission",
        "minbert/encoder/bert.py: larger than 1 MB, so it is not read",
    ]


def test_nothing_that_can_be_read_is_said_and_not_raised(tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 and no more")
    assert read(broken).with_holes == {} and "not a zip" in read(broken).notes[0]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert len(read(empty).notes) == len(WANTED)
