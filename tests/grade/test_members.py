"""A submission's bytes: nothing from outside it, nothing without bound, one line for each evil."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path
from random import Random

import pytest

from minbert.grade import members
from minbert.grade.members import FILE_BYTES, FILES, Unreadable, in_archive, in_folder
from minbert.grade.problems import Problems


def archive_of(path: Path, names: list[str], content: bytes = b"x", how: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(zipfile.ZipInfo(name), b"" if name.endswith("/") else content, how)
    return path


def names_in(path: Path) -> tuple[list[str], list[str]]:
    problems = Problems("")
    with in_archive(path, problems) as found:
        return [member.name for member in found], [problem.what for problem in problems.kept]


def read_all(path: Path) -> bytes:
    with in_archive(path, Problems("")) as found:
        return b"".join(block for member in found for block in member.blocks())


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archives_files_are_read_whole_and_in_order(tmp_path: Path, how: int) -> None:
    content = Random(0).randbytes(200_000)
    names = ["b.csv", "a/c.csv", "a/", ".hidden", "__MACOSX/a/._c.csv", "win\\d.csv"]
    path = archive_of(tmp_path / "x.zip", names, content, how)
    assert names_in(path) == (["a/c.csv", "b.csv", "win/d.csv"], [])
    assert read_all(path) == content * 3


@pytest.mark.parametrize(
    "name", ["../evil.csv", "a/../../evil.csv", "/etc/passwd", "C:\\evil.csv", "..\\evil.csv"]
)
def test_names_that_point_outside_are_not_read(tmp_path: Path, name: str) -> None:
    path = archive_of(tmp_path / "x.zip", ["good.csv", name])
    names, said = names_in(path)
    assert names == ["good.csv"]
    assert len(said) == 1 and "outside" in said[0]


def test_links_and_devices_in_an_archive_are_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        for name, mode in (("link.csv", stat.S_IFLNK), ("pipe.csv", stat.S_IFIFO)):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (mode | 0o777) << 16
            made.writestr(entry, "/etc/passwd")
    names, said = names_in(tmp_path / "x.zip")
    assert names == [] and ["link" in one for one in said] == [True, False]


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_compressions_with_bounded_output_are_read(tmp_path: Path, how: int) -> None:
    path = archive_of(tmp_path / "x.zip", ["a.csv"], bytes(10**6), how)
    names, said = names_in(path)
    assert names == [] and "zip it the usual way" in said[0]


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "x.zip", ["a.csv"])
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    assert "password" in names_in(path)[1][0]


def test_a_bomb_is_left_after_a_bounded_number_of_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, made.open("a.csv", "w") as bomb:
        for _ in range(FILE_BYTES // 2**20 + 4):
            bomb.write(bytes(2**20))
    assert path.stat().st_size < 100_000
    with in_archive(path, Problems("")) as found:
        taken = 0
        with pytest.raises(Unreadable, match="more than 16 MB"):
            for block in found[0].blocks():
                taken += len(block)
    assert taken <= FILE_BYTES


def test_a_member_larger_than_it_says_is_damage(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "x.zip", ["a.csv"], b"1234567890")
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\1\2") + 24, 4)
    path.write_bytes(content)
    with pytest.raises(Unreadable, match="cannot be read"):
        read_all(path)


def test_a_member_that_begins_at_the_archives_end_is_damage(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "x.zip", ["a.csv"], b"1234567890")
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\1\2") + 42, len(content) - 10)
    path.write_bytes(content)
    with pytest.raises(Unreadable, match="cannot be read"):
        read_all(path)


def test_too_many_files_are_one_line(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "x.zip", [f"{i}.csv" for i in range(2 * FILES)], b"")
    with pytest.raises(Unreadable, match="more than 5,000 files"), in_archive(path, Problems("")):
        pass
    for i in range(FILES + 1):
        (tmp_path / f"{i}").touch()
    with pytest.raises(Unreadable, match="more than 5,000 files"):
        in_folder(tmp_path, Problems(""))


def test_a_huge_list_of_names_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "_NAMES_BYTES", 2**17)
    path = archive_of(tmp_path / "x.zip", [f"{'n' * 200}{i}.csv" for i in range(600)], b"")
    with pytest.raises(Unreadable, match="more than 5,000 files"), in_archive(path, Problems("")):
        pass


def test_damaged_archives_end_in_unreadable_whatever_the_damage(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "x.zip", ["a.csv", "é.csv"], b"id,1\n" * 99, 8)
    whole, draw = path.read_bytes(), Random(0)
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice([len(content), draw.randrange(len(content))])])
        try:
            read_all(path)
        except Unreadable as error:
            assert "\n" not in str(error) and len(str(error)) < 300


def test_a_folders_links_pipes_and_hidden_files(tmp_path: Path) -> None:
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.csv").write_text("1")
    (root / ".git").mkdir()
    (root / ".git" / "b.csv").write_text("1")
    (tmp_path / "outside.csv").write_text("secret")
    (root / "file").symlink_to(tmp_path / "outside.csv")
    (root / "folder").symlink_to(tmp_path)
    (root / "circle").symlink_to(root)
    os.mkfifo(root / "pipe")
    problems = Problems("")
    assert [member.name for member in in_folder(root, problems)] == ["sub/a.csv"]
    said = sorted(problem.what.split(" ")[0] for problem in problems.kept)
    assert said == ["circle", "file", "folder", "pipe"]


def test_a_file_that_turns_into_a_link_or_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    (member,) = in_folder(tmp_path, Problems(""))
    (tmp_path / "a.csv").unlink()
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(Unreadable, match="not a regular file"):
        list(member.blocks())
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.csv").symlink_to("/etc/hostname")
    with pytest.raises(Unreadable, match="cannot be read"):
        list(member.blocks())
