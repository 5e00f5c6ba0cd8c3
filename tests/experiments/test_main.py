"""One command leads to the others."""

from __future__ import annotations

from importlib import import_module

import pytest

from minbert.experiments.__main__ import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_main(name: str) -> None:
    assert callable(import_module(COMMANDS[name][0]).main)


@pytest.mark.parametrize(("argv", "words"), [([], "no command given"), (["tabel"], "tabel: no")])
def test_what_is_no_command_is_one_line(
    capfd: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert main(argv) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err and all(name in err for name in COMMANDS)


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[3:]] == list(COMMANDS)
    assert max(map(len, shown.splitlines())) <= 80


def test_arguments_and_exit_code_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(
        import_module(COMMANDS["cost"][0]), "main", lambda argv: given.extend(argv) or 7
    )
    assert main(["cost", "--rounds", "3"]) == 7
    assert given == ["--rounds", "3"]
