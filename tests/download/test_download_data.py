"""The course's data files: which, from where, and what happens when one of them fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from tests.download import faulty_server as faulty

from minbert.download import course_files
from minbert.download.course_files import BASE, FILES, fetch_data
from minbert.download.fetch import Expected
from minbert.finetune.config import KNOWN_TASKS, RunConfig
from minbert.support.errors import RunError
from tests.download.faulty_server import Server, blob_sha1, closed_port, serving
from tests.download.one_file import SOON

CONTENT = {name: f"{name}\n".encode() * (50 + i) for i, name in enumerate(FILES)}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A mirror with other contents, whose hashes are expected, and an empty current folder."""
    monkeypatch.chdir(tmp_path)
    sizes = {name: None if it.size is None else len(CONTENT[name]) for name, it in FILES.items()}
    expected = {name: Expected(blob_sha1(CONTENT[name]), size) for name, size in sizes.items()}
    monkeypatch.setattr(course_files, "FILES", expected)
    with serving({f"/mirror/{name}": content for name, content in CONTENT.items()}) as running:
        yield running


def there(folder: Path = Path("data")) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_names_are_the_main_jobs_defaults() -> None:
    defaults = {entry.name: str(entry.default) for entry in fields(RunConfig)}
    keys = [f"{task}_{split}" for task in KNOWN_TASKS for split in ("train", "dev", "test")]
    assert {defaults[key] for key in keys} == {f"data/{name}" for name in FILES}
    assert len(FILES) == 12


def test_every_hash_is_gits_and_two_sizes_are_unknown() -> None:
    assert all(re.fullmatch("[0-9a-f]{40}", it.digest) for it in FILES.values())
    assert len({it.digest for it in FILES.values()}) == 12
    unknown = {name for name, it in FILES.items() if it.size is None}
    assert unknown == {"quora-train.csv", "quora-test-student.csv"}
    assert BASE.startswith("https://") and "gpoesia/minbert-default-final-project" in BASE


def test_the_pins_are_those_of_the_real_files(course_data: Path) -> None:
    stand_ins = {"quora-train.csv", "quora-test-student.csv"}
    for name in FILES.keys() - stand_ins:
        assert FILES[name].holds(course_data / name), name


@pytest.mark.parametrize("slash", ["", "/"])
def test_all_twelve_are_fetched(server: Server, slash: str) -> None:
    line = fetch_data(f"{server.url}/mirror{slash}", SOON)
    assert line == "data: the course's 12 files are in data/, their hashes are right"
    assert there() == CONTENT


def test_files_that_are_there_are_not_fetched_again(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    fetch_data(f"{server.url}/mirror", SOON)
    Path("data/sts-dev.csv").unlink()
    server.requests.clear()
    with caplog.at_level("INFO", logger="minbert"):
        fetch_data(f"{server.url}/mirror", SOON)
    assert server.requests == [("/mirror/sts-dev.csv", 0)]
    assert there() == CONTENT
    assert sum("there already, its hash is right" in line for line in caplog.messages) == 11


def test_another_file_in_the_way_is_left_alone_and_named(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    Path("data").mkdir()
    Path("data/quora-dev.csv").write_bytes(b"mine")
    Path("data/sts-dev.csv").symlink_to("nowhere")
    Path("data/sts-train.csv").mkdir()
    with pytest.raises(RunError, match=r"lacks 3 .*sts-train.csv, sts-dev.csv, quora-dev.csv"):
        fetch_data(f"{server.url}/mirror", SOON)
    assert "data/quora-dev.csv: holds something else" in caplog.text
    assert "move it away" in caplog.text
    assert Path("data/quora-dev.csv").read_bytes() == b"mine"
    assert Path("data/sts-dev.csv").is_symlink()
    assert len(list(Path("data").iterdir())) == 12


def test_what_fails_does_not_keep_the_others_away(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.always["/mirror/ids-sst-dev.csv"] = faulty.corrupt(0.5)
    server.always["/mirror/sts-train.csv"] = faulty.status("404 Not Found")
    server.always["/mirror/quora-train.csv"] = faulty.page
    with pytest.raises(RunError, match="lacks 3 of the course's 12 files") as raised:
        fetch_data(f"{server.url}/mirror", SOON)
    failed = ("ids-sst-dev.csv", "sts-train.csv", "quora-train.csv")
    assert all(name in str(raised.value) for name in failed)
    assert there() == {name: it for name, it in CONTENT.items() if name not in failed}
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 3
    server.always.clear()
    fetch_data(f"{server.url}/mirror", SOON)
    assert there() == CONTENT


def test_a_server_that_is_not_reached_is_not_asked_twelve_times(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    Path("data").mkdir()
    Path("data/sts-dev.csv").write_bytes(CONTENT["sts-dev.csv"])
    patience = replace(SOON, tries=2)
    with (
        caplog.at_level("INFO", logger="minbert"),
        pytest.raises(RunError, match="lacks 11 of the course's 12"),
    ):
        fetch_data(closed_port(), patience)
    assert sum("no connection" in line for line in caplog.messages) == 2  # one file's two tries
    assert sum("not tried" in line for line in caplog.messages) == 10
    assert there() == {"sts-dev.csv": CONTENT["sts-dev.csv"]}
