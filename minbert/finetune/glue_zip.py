"""What GLUE's leaderboard takes: a zip of eleven files of test predictions.

One run predicts the tests of the tasks that it scores. A zip that is there already keeps its files
of other tasks, so that runs one after the other fill it.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from minbert.data.batches import Dataset
from minbert.finetune.config import Key, ResolvedConfig
from minbert.support import durable_files
from minbert.support.errors import InputError
from minbert.support.outputs import refusing_unwritable
from minbert.tasks.glue import GLUE, SUBMISSION, Due
from minbert.tasks.task import Array

_HEADER = "index\tprediction"
_LARGEST = 2**26  # bytes of a member; QQP's 390,965 rows take 4 MB
_WRONG = 5  # rows that a complaint names at most


def check(config: ResolvedConfig, datasets: Mapping[Key, Dataset]) -> None:
    """Raise InputError, before training, where `--glue_zip` could not become a whole zip."""
    if config.glue_zip is None:
        return
    path = Path(config.glue_zip)
    with refusing_unwritable(f"--glue_zip {path}"):
        durable_files.check_writable(path)
    there = _members(path)
    for name, due in SUBMISSION.items():
        rows = datasets.get((due.task, due.split))
        if rows is None:
            if name in there and (wrong := next(_wrong(due, there[name]), None)):
                raise InputError(f"--glue_zip {path}: {name} {wrong}; name another file")
            if name not in there and not config.glue_fill:
                raise InputError(
                    f"--glue_zip {path}: {name} needs {due.task} in --tasks with its {due.split} "
                    "file, or --glue_fill, which puts the commonest label there"
                )
        elif list(rows.ids) != list(map(str, range(due.rows))):
            raise InputError(
                f"--glue_zip {path}: the leaderboard's {due.split} of {due.task} has the rows 0 to "
                f"{due.rows - 1}, in this order; the file here has {len(rows.ids)} of its own"
            )


def write(
    config: ResolvedConfig, datasets: Mapping[Key, Dataset], predicted: Mapping[Key, Array]
) -> None:
    """Write the zip that `--glue_zip` asks for, if it does. Raises InputError like `check`."""
    if config.glue_zip is None:
        return
    check(config, datasets)
    path = Path(config.glue_zip)
    members = _members(path)
    for name, due in SUBMISSION.items():
        key = due.task, due.split
        if key in predicted:
            task = datasets[key].task
            spelled = "{:.3f}".format if task.is_correlation else task.spelled
            members[name] = _table([spelled(value) for value in predicted[key]])
        else:
            members.setdefault(name, _table([due.commonest] * due.rows))
    with durable_files.replacing(path) as draft:
        draft.write_bytes(_packed(members))


def complaints(path: Path) -> Iterator[str]:
    """What the leaderboard would refuse in a zip, a line each."""
    try:
        members = _members(path, strict=True)
    except InputError as error:
        yield str(error)
        return
    for name, due in SUBMISSION.items():
        if name not in members:
            yield f"{name}: missing"
        else:
            yield from (f"{name}: {what}" for what in _wrong(due, members[name]))
    yield from (f"{name}: no file of GLUE" for name in members if name not in SUBMISSION)


def _wrong(due: Due, text: str) -> Iterator[str]:
    """What is wrong with a file, by the table of what is due."""
    header, *rows = text.splitlines()
    if header != _HEADER:
        yield f"its header is {header[:40]!r}, not 'index<tab>prediction'"
    if len(rows) != due.rows:
        yield f"has {len(rows)} rows, not {due.rows}"
    bad = [number for number, row in enumerate(rows) if not _is_row(due, number, row)]
    if bad:
        some = ", ".join(map(str, bad[:_WRONG]))
        yield f"{len(bad)} rows are no index in order and one of its labels: rows {some}"


def _is_row(due: Due, number: int, row: str) -> bool:
    index, _, label = row.partition("\t")
    labels = GLUE[due.task].labels
    if index != str(number):
        return False
    return label in labels if labels else _is_similarity(label)


def _is_similarity(text: str) -> bool:
    whole, point, decimals = text.partition(".")
    plain = whole.isdecimal() and point and decimals.isdecimal() and len(decimals) == 3
    return bool(plain) and 0 <= float(text) <= 5


def _members(path: Path, *, strict: bool = False) -> dict[str, str]:
    """The texts of a zip's files; none where there is no zip yet, unless `strict`.

    Raises InputError for a file that is no zip, or one of unlikely size.
    """
    if not path.exists() and not strict:
        return {}
    try:
        with zipfile.ZipFile(path) as file:
            if large := [e.filename for e in file.infolist() if e.file_size > _LARGEST]:
                raise InputError(f"{path}: {large[0]} is larger than any file of GLUE")
            return {e.filename: file.read(e).decode() for e in file.infolist()}
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: is no zip of texts ({error}); name another file") from error


def _table(labels: Sequence[str]) -> str:
    return "\n".join([_HEADER, *(f"{i}\t{label}" for i, label in enumerate(labels))]) + "\n"


def _packed(members: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name in SUBMISSION:
            file.writestr(zipfile.ZipInfo(name), members[name], zipfile.ZIP_DEFLATED)
    return packed.getvalue()
