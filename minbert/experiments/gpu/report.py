"""The parts' findings as one JSON file and one page of tables."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minbert.experiments.gpu.config import PARTS
from minbert.experiments.gpu.process import Ended, found_at
from minbert.reports.tables import Table
from minbert.support import durable_files, untrusted
from minbert.support.errors import InputError

ABOUT = "A GPU, measured"
_LEFT_OUT = ("left out", "failed")


def check(out: Path, named: str) -> None:
    """Raise InputError where the folder has a report of something else. `named` is the flag."""
    for path in (out / "report.md", out / "report.json"):
        if path.exists() and ABOUT not in path.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f"{named}: its {path.name} is something else; name another folder")


def write(out: Path, setting: str, machine: Mapping[str, Any], ended: Mapping[str, Ended]) -> str:
    """Write report.json and report.md with what is known so far; return the page."""
    found = {part: _read(found_at(out, part)) for part in PARTS}
    facts = {
        part: {"status": how.status, "seconds": how.seconds, "found": found[part]}
        for part, how in ended.items()
    }
    texts = [table.markdown() for table in tables(ended, found)]
    page = "\n".join([f"## {ABOUT}", "", setting, "", *texts])
    durable_files.write_json(out / "report.json", {"about": ABOUT, "machine": machine, **facts})
    durable_files.write_text(out / "report.md", page)
    return page


def _read(path: Path) -> dict[str, Any]:
    return untrusted.read_object(path) if path.exists() else {}


def tables(ended: Mapping[str, Ended], found: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """A table of the parts, and one of what each found."""
    rows = [[part, how.status, f"{how.seconds:g}"] for part, how in ended.items()]
    yield Table("Parts", ["part", "how it ended", "seconds"], rows)
    for part in ended:
        for number, entries in enumerate(_alike(found[part])):
            title = PARTS[part][1] if number == 0 else "the same, other columns"
            yield _table(f"{part}: {title}", entries)


def _alike(entries: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries in groups that have the same columns; those without a result stand last."""
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, facts in entries.items():
        groups.setdefault(tuple(facts), {})[name] = facts
    yield from sorted(groups.values(), key=lambda group: _is_gap(next(iter(group.values()))))


def _is_gap(facts: Mapping[str, Any]) -> bool:
    return any(word in facts for word in _LEFT_OUT)


def _table(title: str, entries: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = list(next(iter(entries.values())))
    rows = [[name, *(_shown(facts[c]) for c in columns)] for name, facts in entries.items()]
    return Table(title, ["", *columns], rows)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
