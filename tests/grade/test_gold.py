"""The gold: ids and labels of the data files, read as the main job reads them."""

from __future__ import annotations

from pathlib import Path

from minbert.grade.gold import Ids, Part, read_gold
from tests.grade.submissions import ids_of


def test_gold_files_are_read_as_the_data_is(tmp_path: Path) -> None:
    """Quoted headers, texts that span lines, and test files with labels among them."""
    head, forged = ' id \t"sentence"\t" sentiment"\n', '\t"a film\nforged\ta film\t1\nend"'
    for file in ("ids-sst-train.csv", "ids-sst-dev.csv", "ids-sst-test.csv"):
        name = file[8:-4]
        rows = f"{name}1{forged}\t2\n{name}2\ta film\t4\n"
        (tmp_path / file).write_text(f"\ufeff{head}{rows}", encoding="utf-8")
    (tmp_path / "ids-sst-test-student.csv").write_text("id\tsentence\nother\ta film\n")
    for split in ("dev", "test"):
        gold = read_gold(tmp_path, split, lint=False)
        assert ids_of(gold, Part("sst", split)) == [f"{split}1", f"{split}2"]
        assert gold.labels["sst"].tolist() == [2, 4]
    assert gold.train_part(b"train2") == Part("sst", "train")
    assert gold.train_part(b"forged") is None and not gold.knows(b"forged")


def test_an_id_is_found_without_its_case_where_only_one_is_meant() -> None:
    ids = Ids({b"Ab": 0, b"aB": 1, "É\xdf".encode(): 2, b"x\xff": 3})
    assert [ids.row(name) for name in (b"Ab", b"aB", b"ab", b"AB")] == [0, 1, None, None]
    assert [ids.row(name) for name in ("éSS".encode(), b"X\xff", b"X\xfe", b"")] == [
        2,
        3,
        None,
        None,
    ]
