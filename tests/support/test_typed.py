"""Words typed: settings from files, dashes for underscores, and flags that are nearly right."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from minbert.support.errors import InputError
from minbert.support.flags import flag, parser_for
from minbert.support.typed import expanded


@dataclass(frozen=True)
class Config:
    learning_rate: float = flag(0.1, "all", "a rate")
    names: tuple[str, ...] = flag((), "all", "names", several=True)
    rare: bool = flag(False, "all", "a switch")


def parse(*words: str) -> dict:
    return vars(parser_for(Config, prog="it").parse_args(list(words)))


def test_a_file_of_settings_stands_for_its_words(tmp_path: Path) -> None:
    path = tmp_path / "my settings.txt"
    path.write_text("--rare  # seldom\n\n# a remark\n--names 'a b' \"c\"\n--learning-rate\n  3e-4")
    assert list(expanded(["x", f"@{path}", "y"])) == [
        *("x", "--rare", "--names", "a b", "c", "--learning-rate", "3e-4", "y")
    ]
    assert parse(f"@{path}") == {"rare": True, "names": ("a b", "c"), "learning_rate": 3e-4}


def test_what_stands_later_wins(tmp_path: Path) -> None:
    path = tmp_path / "settings.txt"
    path.write_bytes(b"\xef\xbb\xbf--learning_rate 1\r\n--rare\r\n")
    assert parse(f"@{path}", "--learning_rate", "2") == {"learning_rate": 2.0, "rare": True}
    assert parse("--learning_rate", "2", f"@{path}")["learning_rate"] == 1.0


def test_a_file_within_a_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "settings.txt"
    path.write_text(f"--names @{path}")
    assert parse(f"@{path}") == {"names": (f"@{path}",)}


@pytest.mark.parametrize("content", ["--names 'open", b"\xff\xfe\x00", b"--rare\x00" * 200_000])
def test_a_file_that_is_none_is_one_line(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    for wrong in (path, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=f"{wrong}: cannot be read"):
            parse(f"@{wrong}")


@pytest.mark.parametrize("typed", ["--learning-rate", "--learning_rate"])
def test_dashes_and_underscores_are_one(typed: str) -> None:
    assert parse(typed, "2") == parse(f"{typed}=2") == {"learning_rate": 2.0}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--lerning_rate", "--learning_rate"),
        ("-Rare", "--rare"),
        ("--rar", "--rare"),
        ("--name=a", "--names"),
    ],
)
def test_a_flag_that_is_nearly_right_is_asked_about(typed: str, meant: str) -> None:
    with pytest.raises(InputError, match=rf"arguments: {typed}.*; did you mean {meant}\?"):
        parse(typed, "2")


def test_a_word_that_is_like_no_flag_has_no_suggestion() -> None:
    for words in (["--zzz"], ["stray"]):
        with pytest.raises(InputError) as error:
            parse(*words)
        assert "mean" not in str(error.value)
