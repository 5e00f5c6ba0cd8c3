"""What a user typed, made ready for a parser: settings from files, and spellings that are near."""

import difflib
import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from minbert.support import untrusted
from minbert.support.errors import InputError


def expanded(words: Sequence[str]) -> Iterator[str]:
    """The words, with `@FILE` replaced by the words in that file, to its end. Raises InputError.

    The file is read as a shell would: blanks and new lines separate, quotes join, # begins a
    remark. `@` within it has no meaning.
    """
    for word in words:
        if word.startswith("@") and len(word) > 1:
            yield from _words_of(Path(word[1:]))
        else:
            yield word


def _words_of(path: Path) -> list[str]:
    text = untrusted.read_text(path, untrusted.MEGABYTE)
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as settings ({error})") from error


def respelt(word: str, known: Collection[str]) -> str:
    """A flag of `known` that is typed with dashes for underscores or the other way round, mended.

    `word` may be `--flag=value`. Any other word stays.
    """
    flag, mark, value = word.partition("=")
    if flag in known or not flag.startswith("--"):
        return word
    alike = [name for name in known if name.replace("-", "_") == flag.replace("-", "_")]
    return f"{alike[0]}{mark}{value}" if alike else word


def suggestion(words: Sequence[str], known: Collection[str]) -> str:
    """The question whether the nearest flag was meant; empty where none is near."""
    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("-"):  # one dash or two, in whatever case
            flag = f"--{flag.lstrip('-').lower()}"
            if near := difflib.get_close_matches(flag, known, n=1, cutoff=0.7):
                return f"; did you mean {near[0]}?"
    return ""
