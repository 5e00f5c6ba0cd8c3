"""Prediction files changed at random: every defect is found, none made up.

The oracle is the way a file was made: it starts out valid, and each change to it is known to be a
defect or to be none.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.grade.gold import Gold, Part
from tests.grade.submissions import FORMS, gold_of, ids_of, spelled
from tests.grade.test_sheet import kinds, reading

ROWS = 16


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Gold:
    return gold_of(tmp_path_factory.mktemp("gold"), ROWS)


@st.composite
def damaged(draw: st.DrawFn, gold: Gold) -> tuple[bytes, str, list[tuple[str, int | None]]]:
    """A file in any form with any defects: its bytes, its task, and the defects that are there."""
    task = draw(st.sampled_from(["sst", "para", "sts"]))
    split = draw(st.sampled_from(["dev", "test"]))
    ids = ids_of(gold, Part(task, split))
    top = {"sst": 4, "para": 1, "sts": 5}[task]
    numbers = st.floats(0, 5) if task == "sts" else st.integers(0, top).map(float)
    values = draw(st.lists(numbers, min_size=ROWS, max_size=ROWS))
    form = draw(st.sampled_from(list(FORMS.values())))
    head, *rows = spelled(task, ids, values, form).decode().split(form.end)
    rows = [row for row in draw(st.permutations(rows)) if row.strip() or draw(st.booleans())]
    found: list[tuple[str, int | None]] = []
    bad: dict[str, str] = {}  # row -> kind
    gone = draw(st.integers(0, 3))
    named = [row for row in rows if row.strip()]
    for row in named[:gone]:
        rows.remove(row)
    if gone:
        found.append(("missing", None))
    good = named[gone:]
    for kind in draw(
        st.lists(st.sampled_from(["value", "unknown", "split", "columns"]), max_size=4)
    ):
        place = draw(st.integers(0, len(rows)))
        number = len(bad)
        if kind == "value" and len(good) > 3:
            old = good.pop()
            name = old.replace("\t", ",").split(",")[0].strip()
            wrong = draw(st.sampled_from(["nan", "x", "9", "-3", "1_0", "", "1.5e", "inf"]))
            new = f"{name} , {wrong}"
            rows[rows.index(old)] = new
            bad[new] = kind
        elif kind == "unknown":
            new = f"nobody{number},1"
            rows.insert(place, new)
            bad[new] = kind
        elif kind == "split":
            other = "test" if split == "dev" else "dev"
            new = f"{ids_of(gold, Part(task, other))[number]}\t1"
            rows.insert(place, new)
            bad[new] = kind
        elif kind == "columns":
            new = f"torn{number}"
            rows.insert(place, new)
            bad[new] = kind
    for row in good[: draw(st.integers(0, 2))]:
        rows.append(f" {row} ")
        bad[rows[-1]] = "duplicate"
    found += [(bad[row], line) for line, row in enumerate(rows, start=2) if row in bad]
    lines = [head, *rows]
    if rows[0] in good and draw(st.booleans()):
        lines, found = rows, [(kind, line and line - 1) for kind, line in found]
        found.append(("header", 1))
    left = [_value(task, row) for row in good]
    if len(left) > 1 and len(set(left)) == 1 and not _kept(task, bad):
        found.append(("constant", None))
    return form.end.join(lines).encode(), f"{task}-{split}-output.csv", found


def _value(task: str, row: str) -> float:
    return float(row.replace("\t", ",").split(",")[-1])


def _kept(task: str, bad: dict[str, str]) -> bool:
    """Whether a similarity out of range is there, which is scored and so makes the column vary."""
    values = [row.split(",")[-1].strip() for row, kind in bad.items() if kind == "value"]
    return task == "sts" and any(value in ("9", "-3") for value in values)


def check_damaged(gold: Gold, data: st.DataObject) -> None:
    content, name, expected = data.draw(damaged(gold))
    found = reading(gold, content, name if data.draw(st.booleans()) else "any.csv")
    assert sorted(kinds(found), key=str) == sorted(expected, key=str)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_random_defects_are_found_and_none_invented(gold: Gold, data: st.DataObject) -> None:
    check_damaged(gold, data)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(data=st.data())
def test_ten_thousand_random_files(gold: Gold, data: st.DataObject) -> None:
    check_damaged(gold, data)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300), header=st.booleans(), name=st.booleans())
def test_any_bytes_at_all_end_in_problems_or_nothing(
    gold: Gold, content: bytes, header: bool, name: bool
) -> None:
    content = b"id,Predicted_Sentiment\nsstd001,1\n" * header + content
    found = reading(gold, content, "sst-dev-output.csv" if name else "x", expected=name)
    for problem in found.problems if found else ():
        assert "\n" not in problem.spelled("me") and len(problem.what) < 500
