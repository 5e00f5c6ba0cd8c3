"""Submissions in every dialect that spreadsheets and libraries write: the scores are the oracle's.

The oracle is scikit-learn and scipy on the values that were written.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from minbert.grade.dialect import cells_of, header_of, settle
from minbert.grade.gold import Gold, Part
from minbert.tasks.registry import TASKS
from tests.grade.submissions import COURSE, gold_of, graded, guesses, ids_of, member
from tests.grade.test_sheet import only, reading

ROWS = 40


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a library or a spreadsheet writes a table of ids and predictions."""

    delimiter: str = ","
    quoting: int = csv.QUOTE_MINIMAL
    comma: bool = False  # in numbers
    index: str = ""  # "" for none, "named" or "unnamed" in the header, or "bare": not in it
    text: bool = False  # a column of texts with line ends between id and prediction
    value_first: bool = False
    capitals: bool = False  # ids in them
    end: str = "\n"
    bom: bool = False

    def written(self, task: str, ids: Sequence[str], values: Sequence[float]) -> bytes:
        """The file."""
        stream = io.StringIO(newline="")
        none = self.quoting == csv.QUOTE_NONE
        writer = csv.writer(
            stream,
            delimiter=self.delimiter,
            quoting=self.quoting,
            lineterminator=self.end,
            quotechar=None if none else '"',
            escapechar="\x00" if none else None,
        )
        head = ["id", *["text"] * self.text, TASKS[task].prediction_column]
        writer.writerow(
            [*{"named": [""], "unnamed": ["Unnamed: 0"]}.get(self.index, []), *self._turned(head)]
        )
        for number, (name, value) in enumerate(zip(ids, values, strict=True)):
            cell = str(value).replace(".", ",") if self.comma else value
            text = [f'line one,\n{number}, "two";{self.end}three'] * self.text
            cells = self._turned([name.upper() if self.capitals else name, *text, cell])
            writer.writerow([*[number] * bool(self.index), *cells])
        content = stream.getvalue().replace("\x00", "")
        return ("\ufeff" * self.bom + content).encode()

    def _turned(self, cells: list[object]) -> list[object]:
        return cells[::-1] if self.value_first else cells


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    quoting = draw(
        st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC, csv.QUOTE_NONE])
    )
    index = draw(st.sampled_from(["", "named", "unnamed", "bare"]))
    return Dialect(
        draw(st.sampled_from(",\t;|")),
        quoting,
        draw(st.booleans()),
        index,
        quoting != csv.QUOTE_NONE and draw(st.booleans()),
        draw(st.booleans()) and index != "bare",
        draw(st.booleans()),
        draw(st.sampled_from(["\n", "\r\n"])),
        draw(st.booleans()),
    )  # fmt: skip


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Gold:
    return gold_of(tmp_path_factory.mktemp("gold"), ROWS)


@pytest.mark.parametrize("task", COURSE)
@given(dialect=dialects(), seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_every_dialect_reads_as_what_was_written(
    gold: Gold, task: str, dialect: Dialect, seed: int
) -> None:
    values = guesses(gold, seed=seed)[task]
    content = dialect.written(task, ids_of(gold, Part(task, "dev")), values)
    found = reading(gold, content, "x.csv")
    assert found is not None and found.problems == [], content[:300]
    np.testing.assert_array_equal(found.sheet.values, values)
    said = " ".join(found.notes)
    assert ("decimal commas" in said) == dialect.comma
    assert ("case" in said) == dialect.capitals
    assert ("further columns" in said) == (dialect.text or dialect.index in ("named", "unnamed"))


EXAMPLES = {
    "pandas with its index": Dialect(index="named"),
    "pandas, read and written again": Dialect(index="unnamed", delimiter="\t"),
    "R's write.csv": Dialect(quoting=csv.QUOTE_NONNUMERIC, index="named"),
    "R's write.table": Dialect(delimiter=" ", quoting=csv.QUOTE_NONNUMERIC, index="bare"),
    "QUOTE_ALL": Dialect(quoting=csv.QUOTE_ALL, end="\r\n"),
    "European spreadsheet": Dialect(delimiter=";", comma=True, end="\r\n", bom=True),
    "European tabs": Dialect(delimiter="\t", comma=True),
    "comma for everything": Dialect(quoting=csv.QUOTE_NONE, comma=True),
    "comma for all, with an index": Dialect(quoting=csv.QUOTE_NONE, comma=True, index="named"),
    "quoted decimal commas": Dialect(comma=True, capitals=True),
    "texts between": Dialect(text=True),
    "texts between, European": Dialect(delimiter=";", text=True, comma=True),
}  # fmt: skip


def test_scores_of_every_dialect_are_scikit_learns_and_scipys(tmp_path: Path, gold: Gold) -> None:
    for number, (name, dialect) in enumerate(EXAMPLES.items()):
        folder = tmp_path / "class" / name / "predictions"
        folder.mkdir(parents=True)
        for task, values in guesses(gold, 0.1 * (number % 8), number).items():
            ids = ids_of(gold, Part(task, "dev"))
            (folder / f"{task}-dev-output.csv").write_bytes(dialect.written(task, ids, values))
    code, found = graded(gold, tmp_path / "class")
    assert code == 0 and found.keys() == EXAMPLES.keys()
    for number, name in enumerate(EXAMPLES):
        values, labels = guesses(gold, 0.1 * (number % 8), number), gold.labels
        sst, para, sts = (found[name]["scores"][task] for task in COURSE)
        expected = {
            "accuracy": metrics.accuracy_score(labels["sst"], values["sst"]),
            "macro_f1": metrics.f1_score(
                labels["sst"], values["sst"], average="macro", zero_division=0
            ),
        }
        assert {key: sst[key] for key in expected} == pytest.approx(expected)
        expected = {
            "accuracy": metrics.accuracy_score(labels["para"], values["para"]),
            "f1": metrics.f1_score(labels["para"], values["para"], zero_division=0),
        }
        assert {key: para[key] for key in expected} == pytest.approx(expected)
        pair = values["sts"], labels["sts"]
        expected = {
            "pearson": stats.pearsonr(*pair).statistic,
            "spearman": stats.spearmanr(*pair).statistic,
        }
        assert {key: sts[key] for key in expected} == pytest.approx(expected)


@given(
    delimiter=st.sampled_from(",\t;| "),
    cells=st.lists(st.text(st.sampled_from('ab"é ,;'), max_size=6), min_size=1, max_size=4),
)
def test_cells_are_those_that_csv_wrote_without_blanks_around(
    delimiter: str, cells: list[str]
) -> None:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="").writerow(
        cells
    )
    found = cells_of(stream.getvalue().encode(), delimiter.encode())
    assert [cell.decode() for cell in found] == [cell.strip() for cell in cells]


@pytest.mark.parametrize(
    "line", [b"", b"id", b"Predicted_X", b"id,label", b"a,Predicted_X", b"id" * 9999]
)
def test_other_lines_are_no_header(line: bytes) -> None:
    assert header_of(line) is None


def test_a_headers_known_column_is_the_one() -> None:
    header = header_of(b"id,Predicted_Doubt,Predicted_Sentiment")
    assert header is not None and header.column == b"Predicted_Sentiment"


def test_a_few_commas_in_numbers_are_defects_and_no_dialect(gold: Gold) -> None:
    ids = ids_of(gold, Part("sts", "dev"))
    values = ["3,5", "1,25", *["2.5", "1.5"] * 19]
    rows = "".join(f"{name}\t{value}\n" for name, value in zip(ids, values, strict=True))
    found = reading(gold, b"id\tPredicted_Similarity\n" + rows.encode())
    assert [(problem.kind, problem.line) for problem in found.problems] == [
        ("value", 2),
        ("value", 3),
    ]
    assert found.notes == []


def test_rows_of_several_dialects_are_read_where_their_ids_are_known(gold: Gold) -> None:
    ids = ids_of(gold, Part("sst", "dev"))
    spelled = ["{},1", "{}\t2", '"{}",3', " {} , 0 ", '"{}" , "1"', "{};2"]
    rows = [spelled[i % len(spelled)].format(name) for i, name in enumerate(ids)]
    found = reading(gold, "\n".join(["id,Predicted_Sentiment", *rows]).encode())
    assert found.problems == []
    assert found.sheet.values.tolist() == [[1, 2, 3, 0, 1, 2][i % 6] for i in range(ROWS)]


# ------------------------------------------------------------------- what is said where it fails


@pytest.mark.parametrize("row", ["{}:{}", "{}=>{}", "{}", "{},{},0.2", "x{},y,{},z"])
def test_ids_are_not_blamed_for_rows_that_do_not_split(gold: Gold, row: str) -> None:
    ids = ids_of(gold, Part("sst", "dev"))
    rows = [row.format(name, 1) for name in ids]
    found = reading(
        gold, "\n".join(["id,Predicted_Sentiment", *rows]).encode(), "sst-dev-output.csv"
    )
    said = only(found).what
    assert "cannot be split" in said and repr(rows[0]) in said and "gold" not in said


@pytest.mark.parametrize("text", ["well, that", "a, b, c", "3, 4"])
def test_ids_are_not_blamed_for_texts_with_bare_commas(gold: Gold, text: str) -> None:
    """A row has a cell more than its header, as under R's row names; no id is in its place."""
    rows = [f"{name},{text},1.5" for name in ids_of(gold, Part("sts", "dev"))]
    found = reading(gold, "\n".join(["id,text,Predicted_Similarity", *rows]).encode())
    said = only(found).what
    assert "cannot be split" in said and repr(rows[0]) in said and "3 cells" in said


def test_one_torn_row_is_shown(gold: Gold) -> None:
    rows = [f"{name},{i % 3}" for i, name in enumerate(ids_of(gold, Part("sst", "dev")))]
    rows.insert(3, "torn:1")
    rows.insert(5, "nobody,1,2")
    found = reading(gold, "\n".join(["id,Predicted_Sentiment", *rows]).encode())
    assert [(problem.kind, problem.line) for problem in found.problems] == [
        ("columns", 5),
        ("columns", 7),
    ]


def test_unknown_ids_are_shown(gold: Gold) -> None:
    found = reading(gold, b'"id";"Predicted_Similarity"\n"stranger";1\n"other";2\n')
    assert "none of its ids" in only(found).what and "'stranger'" in only(found).what
    assert "no rows" in only(reading(gold, b"id,Predicted_Similarity\n")).what


# ------------------------------------------------------------------------------------------ case


def test_case_decides_where_it_must(tmp_path: Path) -> None:
    names = ["Abc", "aBC", "Def", "ÉG", "x"]
    (tmp_path / "sts-dev.csv").write_text(
        "\tid\tsentence1\tsentence2\tsimilarity\n"
        + "".join(f"0\t{name}\ts\tt\t{i % 5}\n" for i, name in enumerate(names)),
        encoding="utf-8",
    )
    from minbert.grade.gold import read_gold

    gold = read_gold(tmp_path, "dev", lint=False)
    rows = ["Abc,1", "aBC,2", "dEF,3", "ég,4", "X,0"]
    found = reading(gold, "\n".join(["id,Predicted_Similarity", *rows]).encode())
    assert found.problems == [] and found.sheet.values.tolist() == [1, 2, 3, 4, 0]
    assert re.search("case alone.*: 3$", found.notes[0])
    rows[0] = "abc,1"
    found = reading(gold, "\n".join(["id,Predicted_Similarity", *rows]).encode())
    assert [problem.kind for problem in found.problems] == ["unknown", "missing"]


def test_the_starter_puts_all_ids_in_small_letters(tmp_path: Path, gold: Gold) -> None:
    folder = tmp_path / "gold"
    folder.mkdir()
    for file in gold.folder.glob("*-dev.csv"):
        head, *rows = file.read_text().splitlines(keepends=True)
        changed = [re.sub(r"\t(\w+)", lambda found: found[0].upper(), row, count=1) for row in rows]
        (folder / file.name).write_text("".join([head, *changed]))
    me = tmp_path / "me"
    me.mkdir()
    for task, values in guesses(gold).items():
        content = Dialect().written(task, ids_of(gold, Part(task, "dev")), values)
        (me / f"{task}-dev-output.csv").write_bytes(content)
    from minbert.grade.gold import read_gold

    code, found = graded(read_gold(folder, "dev", lint=False), me)
    assert code == 0 and found["me"]["scores"]["sst"]["accuracy"] == pytest.approx(
        float(np.mean(guesses(gold)["sst"] == gold.labels["sst"]))
    )
    assert [note["file"] for note in found["me"]["notes"]] == sorted(p.name for p in me.iterdir())


def test_settling_is_for_one_file_and_knows_no_other(gold: Gold) -> None:
    header = header_of(b"id,Predicted_Sentiment")
    assert settle(header, [], gold.knows).layout.delimiter == b","
    assert member("x", b"").name == "x"
