"""A field of a configuration is a flag: its help, limits and conditions stand in one place.

A configuration is a frozen dataclass whose fields are made by `flag()`. `add_flags` turns them
into arguments, `check_values` holds the values to what the flags promise, and `refuse_idle` refuses
a flag that was typed where it would do nothing.
"""

import argparse
import dataclasses
import sys
import textwrap
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from minbert.support.errors import InputError
from minbert.support.typed import expanded, respelt, suggestion

PerTask = float | dict[str, float]  # one number for all tasks, or one for each that is named
CountPerTask = int | dict[str, int]


def for_task(value: PerTask, task: str) -> float:
    """The number for a task; 0 for one that is not named where others are."""
    return value.get(task, 0.0) if isinstance(value, dict) else value


@dataclass(frozen=True)
class Limit:
    """What a flag's value must satisfy, and how to say so."""

    holds: Callable[[Any], bool]
    words: str


@dataclass(frozen=True)
class When:
    """A condition on the whole configuration under which a flag acts; `needs` says it in words."""

    holds: Callable[[Any], bool]
    needs: str


POSITIVE = Limit(lambda x: 0 < x < float("inf"), "above 0")
NOT_NEGATIVE = Limit(lambda x: 0 <= x < float("inf"), "0 or more")
AT_LEAST_ONE = Limit(lambda x: x >= 1, "1 or more")
RATE = Limit(lambda x: 0 <= x < 1, "at least 0 and below 1")
RATES = Limit(lambda pair: all(0 <= x < 1 for x in pair), "each at least 0 and below 1")


def flag(
    default: Any,
    group: str,
    help: str,
    *,
    choices: Collection[str] = (),
    limit: Limit | None = None,
    metavar: str | None = None,
    bare: str | None = None,
    several: bool = False,
    repeated: bool = False,
    acts: Sequence[When] = (),
) -> Any:
    """A configuration's field with what its flag needs.

    `metavar` names the unit; `bare` is the value of the flag when it stands without one; with
    `several` it takes values separated by blanks, each of `choices` if there are any; one that is
    `repeated` takes a value each time it stands there. The flag does nothing unless every condition
    of `acts` holds.
    """
    facts: dict[str, Any] = {
        "group": group,
        "help": help,
        "choices": choices,
        "limit": limit,
        "metavar": metavar,
    }
    facts |= {"bare": bare, "several": several, "repeated": repeated, "acts": acts}
    return field(default=default, metadata=facts)


def same_flag(kind: type, name: str, group: str | None = None) -> Any:
    """Another configuration's flag, word for word, for a command that takes it too.

    The conditions under which it acts stay behind: they are about the other configuration.
    """
    entry: dataclasses.Field[Any] = kind.__dict__["__dataclass_fields__"][name]
    group = group or entry.metadata["group"]
    return field(default=entry.default, metadata={**entry.metadata, "group": group, "acts": ()})


def check_values(config: Any) -> None:
    """Raise InputError, with flag and value, where a field is not of its choices or limits."""
    for entry in dataclasses.fields(config):
        value, facts = getattr(config, entry.name), entry.metadata
        if value is None:
            continue
        if choices := facts["choices"]:
            for one in value if facts["several"] else (value,):
                if one not in choices:
                    raise InputError(f"--{entry.name} {one}: not one of {', '.join(choices)}")
        limit, numbers = facts["limit"], [value]
        if isinstance(value, dict):
            numbers = list(value.values())
        if limit and not all(map(limit.holds, numbers)):
            raise InputError(f"--{entry.name} {shown(value)}: must be {limit.words}")


def idle_flags(config: Any, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each flag of `names` that does nothing in this configuration, with what it needs."""
    for entry in dataclasses.fields(config):
        if entry.name in names:
            unmet = (when.needs for when in entry.metadata["acts"] if not when.holds(config))
            if needs := next(unmet, None):
                yield entry.name, needs


def refuse_idle(config: Any, given: Collection[str]) -> None:
    """Raise InputError for a `given` (typed) flag that would do nothing in this combination."""
    for name, needs in idle_flags(config, given):
        raise InputError(f"--{name} would do nothing here: it needs {needs}")


def shown(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{name}={number:g}" for name, number in value.items())
    return str(value)


def words_for(entry: dataclasses.Field[Any], value: Any) -> list[str]:
    """The words that give a configuration's field this value, as JSON keeps it, when typed."""
    flag = f"--{entry.name}"
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    if isinstance(value, dict):
        value = ",".join(f"{name}={number}" for name, number in value.items())
    if entry.metadata["repeated"]:
        return [f"{flag}={each}" for each in value]
    if isinstance(value, list):
        several = entry.metadata["several"] or isinstance(entry.default, tuple)
        if several:
            return [flag, *map(str, value)] if value else []
        value = ",".join(value)
    return [f"{flag}={value}"]


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the paragraphs of a description to the terminal; indented ones, commands, stay."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = text.strip("\n").split("\n\n")
        wrapped = [b if b.startswith(" ") else textwrap.fill(b, width) for b in blocks]
        return textwrap.indent("\n\n".join(wrapped), indent)


class OneLineParser(argparse.ArgumentParser):
    """Complains in one line, as InputError, and stores only the flags that were typed."""

    def __init__(self, *, texts: bool = False, **settings: Any) -> None:
        """`settings` are ArgumentParser's.

        With `texts`, what is no flag is a text for which `@` means nothing, wherever it stands.
        """
        self._texts = texts
        super().__init__(
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            epilog="@FILE reads flags from that file, as if they stood in its place; # begins a "
            "remark. Dashes and underscores in a flag's name are the same.",
            **settings,
        )

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the words (default: the command line's), with those of every `@FILE` among them."""
        known, typed = self._option_string_actions, sys.argv[1:] if args is None else args
        words = [respelt(w, known) for w in (typed if self._texts else expanded(typed))]
        parse = self.parse_known_intermixed_args if self._texts else self.parse_known_args
        given, unknown = parse(words, namespace)
        if unknown:
            near = suggestion(unknown, known)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
        return given

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the words, of which none has a null byte, as a file of settings may."""
        if any("\0" in word for word in args or ()):
            self.error("a null byte stands in a flag or its value")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        raise InputError(f"{message} (--help lists the flags)")


def add_flags(
    parser: argparse.ArgumentParser, kind: type, only: Collection[str] | None = None
) -> dict[str, Any]:
    """Add one flag a field of `kind`, or of those in `only`; return the groups, by title."""
    hints = typing.get_type_hints(kind)
    groups: dict[str, Any] = {}
    for entry in dataclasses.fields(kind):
        if only is not None and entry.name not in only:
            continue
        title = entry.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        groups[title].add_argument(f"--{entry.name}", **_argument(entry, hints[entry.name]))
    return groups


def parser_for(kind: type, **settings: Any) -> OneLineParser:
    """A parser with one flag a field of `kind`; `settings` are ArgumentParser's."""
    parser = OneLineParser(**settings)
    add_flags(parser, kind)
    return parser


def _argument(entry: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    facts, default = entry.metadata, entry.default
    text = facts["help"].replace("%", "%%")
    if hint is bool:
        return {"action": "store_true", "help": f"{text} (default: off)"}
    settings: dict[str, Any] = {"type": _value_type(hint), "metavar": facts["metavar"]}
    if facts["choices"]:
        settings["choices"] = facts["choices"]
    if facts["bare"] is not None:
        settings |= {"nargs": "?", "const": facts["bare"]}
    if hint == tuple[float, float]:
        settings |= {"nargs": 2, "action": _Tuple}
    if facts["several"]:
        settings |= {"nargs": "+", "action": _Tuple, "type": str}
    if facts["repeated"]:
        settings |= {"action": _Repeated, "type": str}
    if default is not None and default != ():
        text += f" (default: {shown(default)})"
    return {**settings, "help": text}


class _Tuple(argparse.Action):
    """Several values as a tuple, as a frozen configuration holds them."""

    def __call__(self, _parser: Any, given: argparse.Namespace, values: Any, *_: Any) -> None:
        setattr(given, self.dest, tuple(values))


class _Repeated(argparse.Action):
    """The values of all times that a flag stands there, as a tuple."""

    def __call__(self, _parser: Any, given: argparse.Namespace, value: Any, *_: Any) -> None:
        setattr(given, self.dest, (*getattr(given, self.dest, ()), value))


def _value_type(hint: Any) -> Callable[[str], Any]:
    options = {part for part in (typing.get_args(hint) or (hint,)) if part is not type(None)}
    if tuple[str, ...] in (hint, *options):
        return _names
    for number in (float, int):
        if dict[str, number] in options:  # type: ignore[valid-type]
            return partial(_per_task, number=number)
    if {int, str} <= options:  # a number, or a word in its place
        return lambda text: int(text) if text.isdecimal() else text
    for kind in (int, float, str):
        if kind in options:
            return kind
    raise AssertionError(hint)


_NUMBERS = {float: "number", int: "whole number"}


def _per_task(text: str, number: type[float]) -> PerTask:
    """`5`, or `sst=5,sts=1`."""
    try:
        if "=" not in text:
            return number(text)
        pairs = [part.split("=") for part in text.split(",")]
        numbers = {name.strip(): number(value) for name, value in pairs}
        if "" in numbers:
            raise ValueError("no task")
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a {_NUMBERS[number]} nor one a task, as in TASK=5,TASK=1"
        ) from None
    if len(numbers) < len(pairs):
        raise argparse.ArgumentTypeError(f"{text!r} names a task twice")
    return numbers


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))
