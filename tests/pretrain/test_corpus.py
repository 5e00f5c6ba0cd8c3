"""Reading text: documents, compressed files, bad bytes, which documents are held out."""

from __future__ import annotations

import gzip
import logging
import lzma
import os
from pathlib import Path

import pytest

from minbert.pretrain import corpus
from minbert.pretrain.corpus import check_files, fingerprint, is_held_out, read_documents
from minbert.support.errors import InputError
from tests.helpers import write_course_files
from tests.pretrain.texts import random_documents, write_documents

TEXT = "one.\ntwo.\n\n\n \nthree.\r\n\t\nfour é.\nfive."
DOCUMENTS = [["one.", "two."], ["three."], ["four é.", "five."]]


def read(*paths: Path) -> list[list[str]]:
    return list(read_documents(paths, "reading"))


def test_blank_lines_part_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    assert read(tmp_path / "a.txt") == DOCUMENTS


def test_a_document_ends_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo")
    (tmp_path / "b.txt").write_text("three\n")
    assert read(tmp_path / "a.txt", tmp_path / "b.txt") == [["one", "two"], ["three"]]


def test_a_document_that_is_too_long_is_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "_LONGEST", 10)
    path = write_documents(tmp_path / "a.txt", [["12345", "6789", "x"], ["a" * 30, "b"], ["c"]])
    assert read(path) == [["12345", "6789", "x"], ["a" * 30], ["b"], ["c"]]
    monkeypatch.setattr(corpus, "_LONGEST", 9)
    assert read(path) == [["12345", "6789"], ["x"], ["a" * 30], ["b"], ["c"]]


def test_an_empty_file_has_no_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n \n")
    assert read(tmp_path / "a.txt") == []


@pytest.mark.parametrize(("name", "pack"), [("a.gz", gzip.compress), ("a.xz", lzma.compress)])
def test_compressed_files(tmp_path: Path, name: str, pack) -> None:
    (tmp_path / name).write_bytes(pack(TEXT.encode()))
    assert read(tmp_path / name) == DOCUMENTS


@pytest.mark.parametrize(("name", "pack"), [("a.gz", gzip.compress), ("a.xz", lzma.compress)])
@pytest.mark.parametrize("harm", ["cut", "flipped", "plain"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, pack, harm: str) -> None:
    packed = bytearray(pack((TEXT * 1000).encode()))
    if harm == "cut":
        packed = packed[: len(packed) // 2]
    elif harm == "flipped":
        packed[len(packed) // 2] ^= 0xFF
    else:
        packed = bytearray(TEXT.encode())
    (tmp_path / name).write_bytes(packed)
    with pytest.raises(InputError, match=name):
        read(tmp_path / name)


def test_bad_bytes_are_left_out_and_reported(tmp_path: Path, caplog) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\n\xff\xfe\ntwo\n\xc3\n")
    with caplog.at_level(logging.WARNING, "minbert"):
        assert read(tmp_path / "a.txt") == [["one", "two"]]
    assert "2 lines left out" in caplog.text
    assert "line 2" in caplog.text


def test_files_that_are_not_there_or_twice(tmp_path: Path) -> None:
    there = tmp_path / "a.txt"
    there.write_text("one")
    check_files([there])
    with pytest.raises(InputError, match=r"b\.txt: no such file"):
        check_files([there, tmp_path / "b.txt"])
    with pytest.raises(InputError, match="twice"):
        check_files([there, tmp_path / "." / "a.txt"])


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_about_the_share_is_held_out(share: float) -> None:
    documents = random_documents(4000)
    held_out = sum(is_held_out(document, share) for document in documents)
    assert abs(held_out - 4000 * share) < 5 * (4000 * share * (1 - share)) ** 0.5


def test_a_larger_share_holds_out_the_same_documents_and_more() -> None:
    documents = random_documents(500)
    few, more = ([is_held_out(d, share) for d in documents] for share in (0.1, 0.3))
    assert all(b for a, b in zip(few, more, strict=True) if a)


def test_a_document_keeps_its_side_whatever_file_it_is_in(tmp_path: Path) -> None:
    documents = random_documents(50)
    write_documents(tmp_path / "a.txt", documents)
    write_documents(tmp_path / "b.txt", documents[::-1])
    sides = [
        {"\n".join(d): is_held_out(d, 0.3) for d in read(tmp_path / name)}
        for name in ("a.txt", "b.txt")
    ]
    assert sides[0] == sides[1]


def test_the_courses_files_are_text_too(tmp_path: Path) -> None:
    folder = write_course_files(tmp_path, rows=5)
    for task, columns in (("ids-sst", 1), ("quora", 2), ("sts", 2)):
        for split in ("train", "test-student"):
            path = folder / f"{task}-{split}.csv"
            lines = path.read_text().splitlines()[1:]
            expected = [[text] for line in lines for text in line.split("\t")[2 : 2 + columns]]
            assert read(path) == expected


def test_a_row_without_a_text_gives_the_other(tmp_path: Path) -> None:
    lines = ["\tid\tsentence1\tsentence2\tsimilarity", "0\ta\tone\t\t", "1\tb\ttwo\tthree\t9"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    assert read(tmp_path / "a.csv") == [["one"], ["two"], ["three"]]


def test_another_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,price\nfish,3\n")
    with pytest.raises(InputError, match=r"a\.csv"):
        read(tmp_path / "a.csv")


NAMES = ["a.tsv", "a.CSV", "a.txt", "a", "a.Tsv"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "header",
    [
        "\tid\tsentence1\tsentence2\tsimilarity",
        '\ufeff"x"\t id \t"sentence1"\tsentence2\tsimilarity',
    ],
)
def test_a_table_is_known_by_its_header_under_any_ending(
    tmp_path: Path, name: str, header: str
) -> None:
    rows = '0\tabc\tone two.\t"three\n\nfour."\t1\n1\tdef\tfive\tsix\t2\n'
    (tmp_path / name).write_text(f"{header}\n{rows}", encoding="utf-8")
    (tmp_path / "plain.csv").write_text(f"{header}\n{rows}", encoding="utf-8")
    expected = [["one two."], ["three four."], ["five"], ["six"]]
    assert read(tmp_path / name) == read(tmp_path / "plain.csv") == expected
    assert fingerprint(tmp_path / name) == fingerprint(tmp_path / "plain.csv")
    check_files([tmp_path / name])
    with pytest.raises(InputError, match="no next sentence"):
        check_files([tmp_path / name], pairs=True)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_packed_table_is_refused_whatever_its_name(tmp_path: Path, pack) -> None:
    path = tmp_path / ("a.txt.gz" if pack is gzip.compress else "a.txt.xz")
    path.write_bytes(pack(b"0\t\tid\tsentence\n0\t1\tabc\ttext\n"))
    with pytest.raises(InputError, match="unpack it first"):
        check_files([path])


UNKNOWN = {
    "GLUE's QQP": ("a.txt", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"),
    "GLUE's MRPC": ("a", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"),
    "labels": ("a.text", "text\tlabel"),
    "no header, by its ending": ("a.tsv", "gj04\t1\t\tOur friends won."),
    "another csv": ("a.CSV", "name,price"),
    "commas": ("a.txt", "id,review,stars"),
    "quoted": ("a.txt", '"review","Label"\r'),
    "bars": ("a", "review|category"),
    "semicolons": ("a.text", "Idx;Text"),
    "scores": ("a.txt", "text\tscore"),
}


@pytest.mark.parametrize("first", ['{"id": 1, "text": "a film"}', "{", " [", '[{"label":3},'])
def test_json_is_never_trained_on(tmp_path: Path, first: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{first}\n" + '{"id": 2, "text": "another"}\n')
    for use in (check_files, read_documents):
        with pytest.raises(InputError, match="JSON objects are no text"):
            list(use([path], *["t"] * (use is read_documents)) or ())


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_table_of_unknown_columns_is_never_trained_on(tmp_path: Path, name: str) -> None:
    file, header = UNKNOWN[name]
    (tmp_path / file).write_text(f"{header}\n1\ta\tb\tc\td\te\n")
    for use in (check_files, read_documents):
        with pytest.raises(InputError, match=f"{file}: a table without a column of sentences"):
            list(use([tmp_path / file], *["t"] * (use is read_documents)) or ())


@pytest.mark.parametrize(
    "text",
    [
        "sentence",
        "The id of a sentence, its label",
        "id sentence",
        "A column\tis what stands in a table beside another one, and its label is long",
        "Contents\t1",
        "sentence1 sentence2",
        "Id, ego, and superego",
        "{braces} stand in texts",
        "[1] A note",
        "Score: 3|2",
        "Hello,world",
        "class | struggle",
    ],
)
def test_prose_about_tables_is_prose(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(f"{text}\nmore\n")
    check_files([tmp_path / "a.txt"], pairs=True)
    assert read(tmp_path / "a.txt") == [[text.strip(), "more"]]


# -------------------------------------------------------------------------------- huge and odd


@pytest.mark.parametrize("pieces", ["one two ", "é", "é中🙂 ", "abcé "])
@pytest.mark.parametrize("end", ["", "\n", "\nlast\n"])
@pytest.mark.parametrize("most", [16, 50, 64])
def test_a_line_that_is_too_long_comes_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, pieces: str, end: str, most: int
) -> None:
    """No letter is lost and no word is cut, if it fits into a part at all."""
    monkeypatch.setattr(corpus, "_LONGEST_LINE", most)
    text = pieces * 40
    (tmp_path / "a.txt").write_text(text + end)
    with caplog.at_level(logging.WARNING, "minbert"):
        sentences = [sentence for document in read(tmp_path / "a.txt") for sentence in document]
    assert "".join(sentences).replace(" ", "") == (text + end).replace("\n", "").replace(" ", "")
    assert max(len(sentence.encode()) for sentence in sentences) <= 2 * most
    if " " in pieces:
        assert set(" ".join(sentences).split()) <= {*pieces.split(), "last"}
    assert "read in parts, the first at line 1" in caplog.text


def test_lines_that_fit_are_read_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = random_documents(40)
    path = write_documents(tmp_path / "a.txt", documents)
    longest = max(len(sentence.encode()) + 1 for document in documents for sentence in document)
    expected = read(path)
    monkeypatch.setattr(corpus, "_LONGEST_LINE", longest)
    assert [s for d in read(path) for s in d] == [s for d in expected for s in d]


@pytest.mark.parametrize("head", [b"", b"a line of text\n" * 10_000])
@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_a_sparse_file_ends_in_one_line(tmp_path: Path, head: bytes, name: str) -> None:
    """Forty gigabytes of nothing; reading them all would take a minute."""
    path = tmp_path / name
    path.write_bytes(head)
    os.truncate(path, 40 * 2**30)
    with pytest.raises(InputError, match=name):
        check_files([path])
        read(path)


@pytest.mark.parametrize(("name", "pack"), [("a.gz", gzip.compress), ("a.xz", lzma.compress)])
def test_a_tiny_compressed_file_holds_zero_bytes_and_is_read(
    tmp_path: Path, name: str, pack
) -> None:
    (tmp_path / name).write_bytes(pack(b"a\n"))
    check_files([tmp_path / name])
    assert read(tmp_path / name) == [["a"]]


@pytest.mark.parametrize("letter", [b"\0", b"a"])
def test_a_bomb_is_read_in_parts(tmp_path: Path, letter: bytes) -> None:
    """A gigabyte that is a megabyte on disk: no line of it is ever in memory as a whole."""
    with gzip.open(tmp_path / "a.gz", "wb") as stream:
        for _ in range(64):
            stream.write(letter * 2**20)
    documents = read_documents([tmp_path / "a.gz"], "reading")
    if letter == b"\0":
        with pytest.raises(InputError, match="holds zero bytes"):
            next(documents)
    else:
        assert len(next(documents)[0]) < 2 * corpus._LONGEST_LINE


def test_text_of_two_bytes_a_letter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-16")
    with pytest.raises(InputError, match="zero bytes"):
        check_files([tmp_path / "a.txt"])


@pytest.mark.parametrize("kind", ["pipe", "loop", "folder", "device"])
def test_what_is_no_file_of_text(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.txt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name if kind == "loop" else "/dev/zero")
    with pytest.raises(InputError, match="no such file"):
        check_files([path])
