"""What the grader's tests share: small gold files and submissions in any of the course's forms."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minbert.grade import __main__ as grade
from minbert.grade.gold import Gold, Part, read_gold
from minbert.grade.members import Member
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array
from tests.helpers import write_course_files

COURSE = ("sst", "para", "sts")
Values = Sequence[float]


@dataclasses.dataclass(frozen=True)
class Form:
    """A way to spell a prediction file. `whole` writes 3.0 as 3."""

    header: str = "id \t {column} \n"
    row: str = "{id} , {value} \n"
    whole: bool = False
    end: str = "\n"
    bom: bool = False
    blank_lines: int = 0
    typo: bool = True
    backwards: bool = False


STARTER = Form()
FORMS = {
    "starter": STARTER,
    "handout": Form(header="id,{column}\n", row="{id},{value}\n", typo=False),
    "comma header, starter rows": Form(header="id , {column} \n"),
    "tabs": Form(header="id\t{column}\n", row="{id}\t{value}\n"),
    "tab header, comma rows": Form(header="id\t{column}\n", row="{id},{value}\n", typo=False),
    "blanks and tabs": Form(row=" {id} \t {value}\n"),
    "whole numbers": Form(whole=True),
    "CRLF": Form(end="\r\n"),
    "byte order mark": Form(bom=True),
    "blank last lines": Form(blank_lines=3),
    "any order": Form(backwards=True),
    "no typo": Form(typo=False),
    "spreadsheet": Form("id,{column}\n", "{id},{value}\n", True, "\r\n", True, 2, False, True),
}


def spelled(task: str, ids: Sequence[str], values: Values, form: Form = STARTER) -> bytes:
    """A prediction file in that form."""
    column = TASKS[task].prediction_column
    if task == "sts" and not form.typo:
        column = "Predicted_Similarity"
    pairs = list(zip(ids, values, strict=True))
    rows = [
        form.row.format(id=name, value=_number(task, value, whole=form.whole))
        for name, value in (reversed(pairs) if form.backwards else pairs)
    ]
    text = form.header.format(column=column) + "".join(rows) + "\n" * form.blank_lines
    return ("\ufeff" * form.bom + text).replace("\n", form.end).encode()


def _number(task: str, value: float, *, whole: bool) -> str:
    if task == "sst" or (whole and value == int(value)):
        return str(int(value)) if task == "sst" and not whole else f"{value:g}"
    return str(float(value))


def gold_of(folder: Path, rows: int = 16, *, split: str = "dev", lint: bool = False) -> Gold:
    """Gold files with random texts, read; the ids of a part are `ids_of` it."""
    write_course_files(folder, rows)
    return read_gold(folder, split, lint=lint)


def ids_of(gold: Gold, part: Part) -> list[str]:
    """A part's ids in the order of its file."""
    return [name.decode() for name in gold.ids[part]]


def guesses(gold: Gold, skill: float = 0.6, seed: int = 0) -> dict[str, Array]:
    """Predictions a task for the scored split: the label, or with what is left anything."""
    draw = np.random.default_rng(seed)
    found = {}
    for task, labels in gold.labels.items():
        top = {"sts": 5, "para": 1, "cfimdb": 1}.get(task, 4)
        anything = draw.random(len(labels)) * 5 if task == "sts" else None
        if anything is None:
            anything = draw.integers(0, top + 1, len(labels)).astype(float)
        found[task] = np.where(draw.random(len(labels)) < skill, np.nan_to_num(labels), anything)
    return found


def hand_in(
    folder: Path,
    gold: Gold,
    predictions: Mapping[str, Values],
    form: Form = STARTER,
    split: str = "dev",
    name: str = "{task}-{split}-output.csv",
) -> Path:
    """Write a submission's files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, values in predictions.items():
        content = spelled(task, ids_of(gold, Part(task, split)), values, form)
        (folder / name.format(task=task, split=split)).write_bytes(content)
    return folder


def zipped(folder: Path, archive: Path) -> Path:
    """A zip of a folder's files."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted(folder.rglob("*")):
            made.write(file, file.relative_to(folder))
    return archive


def class_of(folder: Path, gold: Gold) -> Path:
    """Five submissions of different skill, two of them zips."""
    for seed, name in enumerate(("anna", "ben", "carl", "dora", "emil")):
        hand_in(folder / name / "predictions", gold, guesses(gold, 0.2 * seed, seed))
    for name in ("dora", "emil"):
        zipped(folder / name, folder / f"{name}.zip")
        shutil.rmtree(folder / name)
    return folder


def graded(gold: Gold, *argv: object) -> tuple[int, dict[str, Any]]:
    """The command's exit code and its JSON, by submission."""
    out = gold.folder.parent / "out.json"
    code = grade.main([*map(str, argv), "--gold", str(gold.folder), "--json", str(out)])
    found = json.loads(out.read_text())
    return code, {one["name"]: one for one in found["submissions"]}


def member(name: str, content: bytes) -> Member:
    """A file of a submission, from memory."""
    return Member(name, lambda: io.BytesIO(content))
