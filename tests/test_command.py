"""Results on stdout, whoever reads them."""

from __future__ import annotations

import io
import os
import sys

import pytest

from minbert.command import show


def piped_stdout(monkeypatch: pytest.MonkeyPatch) -> tuple[io.TextIOWrapper, int]:
    """A stdout that knows ASCII only, and the handle at which it is read."""
    reader, writer = os.pipe()
    stream = io.TextIOWrapper(os.fdopen(writer, "wb"), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    return stream, reader


def test_a_reader_who_leaves_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, reader = piped_stdout(monkeypatch)
    os.close(reader)
    show("x" * 10**6)
    show("and on")
    stream.close()  # as Python does when it ends


def test_a_letter_that_the_reader_lacks_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, reader = piped_stdout(monkeypatch)
    show("é, ナ")
    stream.close()
    with os.fdopen(reader, "rb") as read:
        assert read.read() == b"\\xe9, \\u30ca\n"


def test_without_a_stdout_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    show("x")
