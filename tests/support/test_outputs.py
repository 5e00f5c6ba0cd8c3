"""Outputs that cannot be written are wrong input, and named as the user named them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from minbert.support import durable_files
from minbert.support.errors import InputError
from minbert.support.outputs import check_new_folder, refusing_unwritable


def test_an_output_that_can_be_written_is_let_through(tmp_path: Path) -> None:
    with refusing_unwritable("--csv new/marks.csv"):
        durable_files.check_writable(tmp_path / "new" / "marks.csv")
    assert list(tmp_path.iterdir()) == []


def test_the_output_and_the_systems_reason_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as refused, refusing_unwritable("--csv file/marks.csv"):
        durable_files.check_writable(tmp_path / "file" / "marks.csv")
    reason = str(refused.value).removeprefix("--csv file/marks.csv: cannot be written (")
    assert reason.removesuffix(")") in {os.strerror(code) for code in (errno.EEXIST, errno.ENOTDIR)}
    assert isinstance(refused.value.__cause__, OSError)


def test_other_refusals_pass_unchanged() -> None:
    with pytest.raises(InputError, match=r"^holds something else$"), refusing_unwritable("x"):
        raise InputError("holds something else")
    with pytest.raises(ValueError, match=r"^of the program$"), refusing_unwritable("x"):
        raise ValueError("of the program")


def test_a_folder_whose_name_takes_no_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its name is no UTF-8; name another"):
        check_new_folder(tmp_path / os.fsdecode(b"vectors-\xff"))
    assert list(tmp_path.iterdir()) == []
