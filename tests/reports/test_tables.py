"""Tables: what is in a cell cannot break out of it."""

from __future__ import annotations

from minbert.reports.tables import Table, csv_text

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
