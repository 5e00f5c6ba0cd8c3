"""`--like RUN`: the settings of an earlier run again, and what is typed wins."""

import dataclasses
import json
from pathlib import Path

import pytest

from minbert.finetune import cli, inputs
from minbert.finetune.config import RunConfig
from minbert.support.errors import InputError
from minbert.support.flags import words_for
from minbert.training.record import as_json
from tests.finetune.run_settings import FIELDS

SETTINGS = [
    (),
    ("--option", "finetune", "--smart", "--rrobin", "--seed", "7"),
    ("--tasks", "sst,sts", "--rrobin", "full", "--option", "finetune", "--betas", ".9", ".98"),
    ("--option", "finetune", "--freelb", "--freelb_lr", "sst=0.1234567890123", "--stdpp"),
    ("--smart", "--compat", "mtdnn", "--option", "finetune", "--smart_lambda", "sst=0.1"),
    ("--tasks", "sts", "--cross_encoder", "--pooling", "mean", "--lr", "1.23456789e-5"),
]
ELSEWHERE = {"output_dir", "resume"}


def saved(config: RunConfig, folder: Path) -> Path:
    """A run's folder with these settings in its manifest."""
    folder.mkdir(exist_ok=True)
    manifest = {"status": "finished", "config": as_json(dataclasses.asdict(config.resolved()))}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def same(config: RunConfig, other: RunConfig) -> bool:
    one, two = (
        {n: v for n, v in dataclasses.asdict(c.resolved()).items() if n not in ELSEWHERE}
        for c in (config, other)
    )
    return one == two


@pytest.mark.parametrize("flags", SETTINGS, ids=" ".join)
def test_it_repeats_the_settings(parse, tmp_path: Path, flags: tuple[str, ...]) -> None:
    first = parse(*flags, "--output_dir", "elsewhere")
    run = saved(first, tmp_path / "run")
    for place in (run, run / "manifest.json"):
        again = parse("--like", str(place))
        assert same(first, again)
        assert again.output_dir is None
    assert parse("--like", str(run), "--output_dir", "x").output_dir == "x"


def other(entry: dataclasses.Field) -> list[str]:
    """Words for a value that is not the flag's default, as far as that can be told."""
    default, choices = entry.default, entry.metadata["choices"]
    if isinstance(default, bool):
        return []
    if choices:
        return [next(choice for choice in choices if choice != default)]
    if isinstance(default, tuple):
        return [f"{number / 2}" for number in default]
    if isinstance(default, int | float):
        return [f"{type(default)(default * 1.234567890123)}"]
    return ["3"]


def test_every_flag_is_repeated(tmp_path: Path) -> None:
    """Each flag alone, as words to the parser: whether it may stand alone is another matter."""
    parser = cli.make_parser()
    for name, entry in FIELDS.items():
        first = vars(parser.parse_args([f"--{name}", *other(entry)]))
        value = as_json(first)[name]
        assert vars(parser.parse_args(words_for(entry, value))) == first
    assert len(FIELDS) > 60


def test_what_is_typed_wins(parse, tmp_path: Path) -> None:
    run = saved(parse("--option", "finetune", "--rrobin", "--lr", "3e-4"), tmp_path / "run")
    changed = parse("--like", str(run), "--lr", "1e-5", "--seed", "5")
    assert (changed.lr, changed.seed, changed.rrobin) == (1e-5, 5, "equal")
    # a setting of the run that does nothing any more is no mistake of the user's
    smart = saved(
        parse("--smart", "--option", "finetune", "--smart_steps", "0"), tmp_path / "smart"
    )
    assert parse("--like", str(smart), "--smart_steps", "2").smart_steps == 2
    with pytest.raises(InputError, match="--temperature would do nothing"):
        parse("--like", str(run), "--temperature", "2")


def test_another_data_folder_takes_its_own_files(tmp_path: Path, parse) -> None:
    first = dataclasses.replace(parse(), data_dir="old", sst_train="old/ids-sst-train.csv")
    run = saved(first, tmp_path / "run")
    assert parse("--like", str(run)).sst_train == "old/ids-sst-train.csv"
    assert parse("--like", str(run), "--data_dir", "new").sst_train == RunConfig().sst_train


def test_a_setting_that_no_flag_has_is_named(parse, tmp_path: Path, caplog) -> None:
    run = saved(parse(), tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"]["older"] = 1
    (run / "manifest.json").write_text(json.dumps(manifest))
    with caplog.at_level("WARNING", logger="minbert"):
        parse("--like", str(run))
    assert "passed over, no such flag: older" in caplog.text


@pytest.mark.parametrize(
    "manifest",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"status": ' + "9" * 5000 + "}",
        "{}",
        '{"status": "finished"}',
        '{"status": "finished", "config": 3}',
        '{"status": "finished", "config": {"lr": "fast"}}',
        '{"status": "finished", "config": {"betas": [0.9]}}',
        '{"status": "finished", "config": {"tasks": [1, 2]}}',
        '{"status": "finished", "config": {"option": {}}}',
        '{"status": "finished", "config": {"epochs": -1}}',
    ],
)
def test_a_manifest_that_is_none_is_one_line(tmp_path: Path, capsys, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    assert cli.main(["--like", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["--like", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: cannot be read" in capsys.readouterr().err


def test_a_data_folder_that_was_named_is_no_contradiction(place: Path) -> None:
    """Nor are files that the earlier run did not need."""
    first = cli.parse(["--data_dir", "data", "--weights", "encoder"])
    run = saved(first, place / "run")
    again = cli.parse(["--like", str(run)])
    assert same(first, again)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"]["para_train"] = "gone/quora-train.csv"
    manifest["sha256"] = {f"{t}_{s}": "" for t in ("sst", "para", "sts") for s in ("dev", "test")}
    manifest["sha256"]["sst_train"] = ""
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert cli.parse(["--like", str(run), "--rrobin"]).para_train == "data/quora-train.csv"


def test_a_run_on_the_sample_is_repeated_with_more_of_it(place: Path, monkeypatch) -> None:
    (place / "data").rename(place / "elsewhere")
    monkeypatch.setattr(inputs, "SAMPLE", place / "elsewhere")
    first = cli.parse(["--weights", "encoder"])
    run = saved(first, place / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["sha256"] = dict.fromkeys(("sst_train", "sst_dev", "sst_test"), "")
    (run / "manifest.json").write_text(json.dumps(manifest))
    again = cli.parse(["--like", str(run), "--rrobin"])
    assert again.para_train == str(place / "elsewhere" / "quora-train.csv")
    with pytest.raises(InputError, match="--sst_dev is named"):
        cli.parse(["--weights", "encoder", "--sst_dev", __file__])
