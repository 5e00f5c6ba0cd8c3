"""What a file is, by its name and its first block: predictions, of what, in which dialect."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from minbert.data.records import Line, whole_records
from minbert.grade.dialect import BOM, Dialect, Header, header_of, is_number, settle
from minbert.grade.gold import Gold, Part
from minbert.grade.members import Member, Unreadable
from minbert.grade.problems import quoted, readable
from minbert.grade.recognise import Role, claimed, is_courses, part_of, tasks_of

NO_IDS, NO_COLUMN = "no such ids in the gold", "none of the course's columns"
_SNIFFED = 200  # rows


@dataclass(frozen=True)
class Glance:
    """A prediction file before it is read. Without a part, `why` says why it is not read."""

    member: Member
    role: Role | None
    dialect: Dialect | None = None
    part: Part | None = None
    why: str = ""
    is_defect: bool = False

    @property
    def name(self) -> str:
        """The file's name, in letters that can be shown."""
        return readable(self.member.name)


def glance(member: Member, gold: Gold, *, expected: bool) -> Glance | None:
    """Look at a file's first block. Return None for a file of another kind.

    A file has predictions if its header, first row or name says so, or the caller (`expected`).
    """
    role = claimed(member.name)
    promised = expected or role is not None
    try:
        with closing(member.blocks()) as blocks:
            first = next(blocks, b"")
        if not promised and not _is_predictions(first, gold):
            return None
        promised = True
        return _recognised(member, role, first, gold)
    except Unreadable as error:
        return Glance(member, role, why=str(error), is_defect=True) if promised else None


def first_lines(block: bytes) -> list[bytes]:
    """The first lines of a file's first block that are not blank."""
    lines = block.removeprefix(BOM).split(b"\n", _SNIFFED)[:_SNIFFED]
    return [line.strip(b" \r") for line in lines if line.strip()]


def records(header: Header | None, lines: Iterable[Line]) -> Iterator[Line]:
    """Join lines to records where there are further columns, whose texts may span lines."""
    if header is None or not header.others:
        return iter(lines)
    return whole_records(lines, header.delimiter, header.is_row)


def _is_predictions(block: bytes, gold: Gold) -> bool:
    """Return whether a file's first block begins with a header, or with a row of predictions."""
    lines = first_lines(block)
    if not lines:
        return False
    if header_of(lines[0]) is not None:
        return True
    pair = settle(None, lines[:1], gold.knows).layout.row(lines[0])
    return pair is not None and gold.knows(pair[0]) and is_number(pair[1])


def _recognised(member: Member, role: Role | None, first: bytes, gold: Gold) -> Glance:
    _check_text(first)
    lines = first_lines(first)
    if not lines:
        raise Unreadable("empty: no header, no rows")
    header = header_of(lines[0])
    column = header.column if header else None
    if column and role is None and not is_courses(column):
        return Glance(member, role, why=NO_COLUMN)
    rows = [row for _, row in records(header, enumerate(lines))][header is not None :]
    dialect = settle(header, rows, gold.knows)
    names = [pair[0] for pair in map(dialect.layout.row, rows) if pair]
    part = part_of(names, column, role, gold.ids)
    if part is None:
        _check_known(rows, names, dialect, role.part if role else None, gold)
    return Glance(member, role, dialect, part, why="" if part else NO_IDS)


def _check_text(block: bytes) -> None:
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("UTF-16 text: save it as UTF-8")
    if b"\0" in block:
        raise Unreadable("binary, no text: predictions are lines of `id , prediction`")
    if b"\r" in block and b"\n" not in block:
        raise Unreadable("its lines end in CR alone: save it with LF or CRLF")


def _check_known(
    rows: Sequence[bytes],
    names: Sequence[bytes],
    dialect: Dialect,
    part: Part | None,
    gold: Gold,
) -> None:
    """Raise Unreadable unless the file may be about a part that the gold has no ids of."""
    column = dialect.header.column if dialect.header else None
    trained = next(filter(None, map(gold.train_part, names)), None)
    if trained is not None:
        raise Unreadable(f"its ids are {trained}'s: predict the dev and the test file")
    torn = [row for row in rows if not dialect.splits(row)]
    if column is not None and 2 * len(torn) > len(rows):
        say = f"its rows cannot be split, such as {quoted(torn[0])}: expected {dialect.width} cells"
        raise Unreadable(f"{say}, as in {quoted(dialect.header.line if dialect.header else b'')}")
    if part is not None and part not in gold.ids:
        return
    tasks = {part.task} if part else tasks_of(column)
    splits = (part.split,) if part else ("dev", "test")
    if tasks and any(Part(task, split) not in gold.ids for task in tasks for split in splits):
        return
    if column is None:
        raise Unreadable(f"no predictions: it begins {quoted(rows[0])}, not with a header")
    if not names:
        raise Unreadable("no rows below its header: write a row for each id")
    say = f"none of its ids is in the gold files, such as {quoted(names[0])}"
    raise Unreadable(f"{say}: was it written from other data?")
