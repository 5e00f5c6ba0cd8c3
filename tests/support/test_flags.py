"""Help of every command: prose that fits the terminal, and what holds for all flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.support.errors import InputError
from minbert.support.flags import OneLineParser

PROSE = "A sentence of many words that goes on and on, " * 4
COMMAND = "  python -m minbert.something --flag value \\\n      --another " + "x" * 90


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_prose_fits_the_terminal_and_commands_stay(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = OneLineParser(prog="p", description=f"{PROSE}\n\n{COMMAND}\n").format_help()
    assert COMMAND in shown
    others = shown.replace(COMMAND, "")
    assert max(map(len, others.splitlines())) <= columns
    assert " ".join(PROSE.split()) in " ".join(shown.split())


def test_every_help_says_how_flags_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    assert "@FILE reads flags from that file" in OneLineParser(prog="p").format_help()


@pytest.mark.parametrize("words", ["--save a\0b", "--save=\0", "\0"])
def test_a_null_byte_is_refused_where_no_system_call_has_seen_it(
    tmp_path: Path, words: str
) -> None:
    parser = OneLineParser(prog="p")
    parser.add_argument("--save")
    (tmp_path / "settings.txt").write_text(words)
    for argv in (words.split(), [f"@{tmp_path / 'settings.txt'}"]):
        with pytest.raises(InputError, match="null byte"):
            parser.parse_args(argv)
