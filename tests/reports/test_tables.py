"""Tables: what is in a cell cannot break out of it."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbert.reports.tables import Table, csv_text, shown

TABLE = Table("A & B", ["row", "score"], [["a|b_c", "0.5 ± 0.1"], ["50% --x", "–"]], ["n < 5"])


def test_markdown_has_as_many_cells_in_every_line() -> None:
    lines = TABLE.markdown().splitlines()
    pipes = [line.replace("\\|", "").count("|") for line in lines if line.startswith("|")]
    assert pipes == [3] * 4
    assert lines[3] == "| --- | ---: |"  # names to the left, numbers to the right
    assert lines[-1] == "- n < 5"


def test_latex_is_escaped() -> None:
    text = TABLE.latex()
    assert r"\begin{tabular}{lr}" in text
    assert r"a\textbar{}b\_c & 0.5 $\pm$ 0.1 \\" in text
    assert r"50\% -{}-x & -- \\" in text
    assert r"\caption{A \& B. n $<$ 5}" in text


def test_what_tables_hold_is_ascii_in_latex() -> None:
    text = Table("a → b …", ["−1¹"], [["λ – ±"]]).latex()
    assert text.isascii()
    assert r"\caption{a $\rightarrow$ b \ldots{}}" in text


def test_a_note_is_text_not_markup() -> None:
    said = "<b>bad</b> *x* `y` __z__ [a](b) c\\d &lt; n < 5 [0, 1]"
    (line,) = Table("t", ["a"], [], [said]).markdown().splitlines()[-1:]
    assert line == (r"- \<b>bad\</b> \*x\* \`y\` \_\_z\_\_ [a\](b) c\\d \&lt; n < 5 [0, 1]")


def test_csv_keeps_all_digits_and_leaves_what_is_unknown_empty() -> None:
    assert csv_text([("a", "b, c"), (1 / 3, None)]) == 'a,"b, c"\n0.3333333333333333,\n'


BREAKING = [
    "<script>alert(1)</script>",
    "&lt;b>",
    "a|b",
    "two\nlines",
    "esc\x1b[31m",
    "no\udcfftext",
]


@pytest.mark.parametrize("text", BREAKING)
def test_nothing_in_a_markdown_table_is_html_a_line_end_or_a_control_character(text: str) -> None:
    said = Table(text, [text, "b"], [[text, "1"]], [text]).markdown()
    assert len(said.splitlines()) == 7 and said.count("\n") == 7
    assert all(letter.isprintable() for letter in said.replace("\n", ""))
    assert "<" not in said.replace("\\<", "") and "&" not in said.replace("\\&", "")
    said.encode()


SIGNS = "=+-@＝＋－＠"
BEFORE = [
    "",
    " ",
    "\t",
    "\u3000",
    "\r\n",
    ";",
    "a;",
    "a; ",
    "a\t",
    "b\n",
    '"',
    'a;"',
    "\ufeff",
    "\xa0",
]


@pytest.mark.parametrize("delimiter", ",;\t")
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("before", BEFORE)
def test_no_text_is_a_formula_in_any_spreadsheet(delimiter: str, sign: str, before: str) -> None:
    written = csv_text([("name", "score"), (f"{before}{sign}1+1", 0.5), ("x", f"{before}{sign}A1")])
    for row in csv.reader(io.StringIO(written, newline=""), delimiter=delimiter):
        for cell in row:
            assert cell.strip(' \t\r\n"\ufeff')[:1] not in tuple(SIGNS), (written, row)


@given(st.lists(st.tuples(st.text(st.characters(categories=["L", "N"])), st.floats(-9, 9))))
def test_words_and_numbers_stay_as_they_are(rows: list[tuple[str, float]]) -> None:
    read = csv.reader(io.StringIO(csv_text(rows), newline=""))
    assert [(name, float(value)) for name, value in read] == rows


WIDE = Table(
    "Rows",
    ["row", *(f"a score of task {i}" for i in range(6))],
    [["finetune rrobin+smart", *(f"0.{i}12 ± 0.004 [0.500, 0.520]" for i in range(6))]] * 2,
    ["a note of many words " * 10],
)


@pytest.mark.parametrize("columns", [40, 80, 400])
def test_a_terminal_gets_text_that_fits(columns: int) -> None:
    for table in (TABLE, WIDE):
        text = table.text(columns)
        assert max(map(len, text.splitlines())) <= columns
        words = " ".join(text.split())
        for row in table.rows:
            assert all(" ".join(cell.split()) in words for cell in row)
    assert TABLE.text(80).splitlines() == [
        "A & B",
        "",
        "row          score",
        "a|b_c    0.5 ± 0.1",
        "50% --x          –",
        "",
        "n < 5",
    ]
    assert ("  a score of task 3: 0.312" in WIDE.text(80)) and "\x1b" not in WIDE.text(80)


def test_stdout_elsewhere_gets_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown([TABLE, WIDE]) == f"{TABLE.markdown()}\n{WIDE.markdown()}"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    assert shown([TABLE, WIDE]) == f"{TABLE.text(60)}\n{WIDE.text(60)}"
