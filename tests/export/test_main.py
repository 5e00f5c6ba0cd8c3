"""An exported run answers in the other library as it does here, or is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from minbert.data.batches import pad
from minbert.data.reading import read_split
from minbert.data.tokenizer_files import read_vocab
from minbert.encoder.weights import read_vocab_files
from minbert.export import __main__ as command
from minbert.export.export import export
from minbert.export.forms import exportable, why_not
from minbert.finetune.trained import read_run
from minbert.predict import Predictor, load
from minbert.support.errors import InputError
from minbert.support.places import BUNDLED_ENCODER, SAMPLE
from minbert.tasks.registry import TASKS
from tests.export.libraries import Rows, classified, embedded
from tests.helpers import TINY, WORDS, MakeRun, finished_run, make_encoder, save_encoder

TO = ("transformers", "sentence-transformers")
GOES = ""
LAYER = "its head is a layer"
COMPARES = "its head compares the vectors of two texts"
MEAN = "takes the mean over tokens"
RELATIONAL = "its head stands on the relational layer"
BI = {"sst": (GOES, LAYER), "para": (COMPARES, LAYER), "sts": (COMPARES, GOES)}
MEANS = {"sst": (MEAN, LAYER), "para": (COMPARES, LAYER), "sts": (COMPARES, GOES)}
CROSS = dict.fromkeys(BI, (GOES, LAYER))
RELATED = {"sst": (GOES, LAYER), **dict.fromkeys(("para", "sts"), (RELATIONAL, RELATIONAL))}
# settings: of each task, why transformers and why sentence-transformers cannot have it
HEADS: dict[str, tuple[dict[str, Any], dict[str, tuple[str, str]]]] = {
    "published": ({}, BI),
    "mean": ({"pooling": "mean"}, MEANS),
    "together": ({"cross_encoder": True, "max_length": 9}, CROSS),
    "together, mean": (
        {"cross_encoder": True, "pooling": "mean"},
        dict.fromkeys(BI, (MEAN, LAYER)),
    ),
    "related": ({"rlayer": True}, RELATED),
    "related, squashed": ({"rlayer": True, "rlayer_activation": "sigmoid"}, RELATED),
    "related, together": ({"rlayer": True, "cross_encoder": True}, RELATED),
    "R4F": ({"r4f": True, "cross_encoder": True}, CROSS),
    "another scale": ({"sts_scale": 1.0, "cross_encoder": True}, CROSS),
    "frozen": ({"option": "pretrain", "lr": 1e-2}, BI),
    "pairs together, mean": (
        {"cross_encoder": True, "pooling": "mean", "tasks": ("para",)},
        {"para": (MEAN, LAYER)},
    ),
    "reviews": ({"tasks": ("cfimdb",)}, {"cfimdb": (GOES, LAYER)}),
}


def random_rows(is_pair: bool, count: int = 12) -> Rows:
    """Texts of `WORDS`, some of them longer than any limit here."""
    draw = Random(3)
    words = WORDS.split()
    return [
        tuple(" ".join(draw.choices(words, k=draw.randint(1, 40))) for _ in range(1 + is_pair))
        for _ in range(count)
    ]


def assert_same_answers(ask: Predictor, name: str, folder: Path, rows: Rows) -> None:
    """Labels are equal; probabilities, or scores within their ends, agree to 1e-5."""
    task, ours = ask.tasks[name], ask(name, [row if len(row) > 1 else row[0] for row in rows])
    logits, config = classified(folder, rows)
    if not task.classes:
        low, high = task.ends
        scores = logits[:, 0].clip(low, high).numpy()
        assert np.abs(scores - [answer.score for answer in ours]).max() <= 1e-5
        assert config.problem_type == "regression"
        return
    names = [config.id2label[number] for number in range(config.num_labels)]
    assert names == list(task.classes) and config.label2id[names[1]] == 1
    chances = logits.double().softmax(dim=-1).numpy()
    known = [list((answer.probabilities or {}).values()) for answer in ours]
    assert np.abs(chances - known).max() <= 1e-5
    assert [names[at] for at in logits.argmax(dim=-1)] == [answer.label for answer in ours]


def assert_same_scores(ask: Predictor, name: str, folder: Path, rows: Rows) -> None:
    """The cosine of the two vectors is the score, but for the scale."""
    first, second = (embedded(folder, column) for column in zip(*rows, strict=True))
    low, high = ask.run.task(name).ends
    scores = low + (high - low) * torch.cosine_similarity(first, second)
    ours = [answer.score for answer in ask(name, list(rows))]
    assert np.abs(scores.clip(low, high).numpy() - ours).max() <= 1e-5


@pytest.mark.parametrize("form", HEADS)
def test_every_head_goes_along_or_is_refused_with_a_reason_and_a_way(
    make_run: MakeRun, tmp_path: Path, form: str
) -> None:
    flags, expected = HEADS[form]
    run = make_run(**flags)
    ask = load(run)
    assert expected.keys() == ask.tasks.keys()
    for name, reasons in expected.items():
        for to, reason in zip(TO, reasons, strict=True):
            folder = tmp_path / f"{to}-{name}"
            if reason:
                with pytest.raises(InputError, match=reason) as refused:
                    export(run, folder, to, [name])
                assert not folder.exists() and "\n" not in str(refused.value)
                continue
            rows = random_rows(TASKS[name].is_pair)
            (written,) = export(run, folder, to, [name])
            if to == "transformers":
                assert written == folder / name
                assert_same_answers(ask, name, written, rows)
            else:
                assert_same_scores(ask, name, written, rows)


@pytest.mark.parametrize("form", HEADS)
def test_the_way_that_a_refusal_names_is_one(make_run: MakeRun, form: str) -> None:
    flags, expected = HEADS[form]
    run = read_run(make_run(**flags))
    for name, reasons in expected.items():
        for to, other, refused in zip(TO, reversed(TO), reasons, strict=True):
            if not refused:
                continue
            said = str(why_not(run, name, to))
            if f"--to {other} exports it" in said:
                assert why_not(run, name, other) is None
            elif f"--to {other} exports the vectors" in said:
                exportable(run, None, other)
            if "--to transformers exports it" not in said:
                assert "python -m minbert.predict answers for it" in said
                other_run = read_run(make_run(**followed(flags, said)))
                assert why_not(other_run, name, "transformers") is None


def followed(flags: dict[str, Any], said: str) -> dict[str, Any]:
    """The settings after the advice of a refusal."""
    if "without --rlayer" in said:
        flags = {name: value for name, value in flags.items() if "rlayer" not in name}
    flags = flags | ({"pooling": "cls"} if "with --pooling cls" in said else {})
    return flags | ({"cross_encoder": True} if "with --cross_encoder" in said else {})


@pytest.mark.parametrize("form", [name for name in HEADS if "together" not in name])
def test_vectors_are_those_below_the_heads(make_run: MakeRun, tmp_path: Path, form: str) -> None:
    run = make_run(**HEADS[form][0])
    found = read_run(run)
    (folder,) = export(run, tmp_path / "vectors", "sentence-transformers")
    texts = [row[0] for row in random_rows(False)]
    encoded = found.tokenizer.encode([(text,) for text in texts])
    rows = pad(encoded, np.arange(len(texts)), found.tokenizer.pad_id, torch.device("cpu"))
    assert (embedded(folder, texts) - found.model.pool(rows)).abs().max() <= 1e-5


def test_what_can_be_exported_is_and_the_rest_is_named(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    assert command.main([str(run), str(tmp_path / "a"), "--to", "transformers"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{tmp_path / 'a' / 'sst'}/"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["sst"]
    for name in ("para", "sts"):
        assert f"not exported: {name}: {COMPARES}" in printed.err
    both = make_run(**HEADS["together"][0])
    found = export(both, tmp_path / "b", "transformers", None)
    assert [path.name for path in found] == ["sst", "para", "sts"]


WRONG: list[tuple[str, str]] = [
    ("RUN", "the following arguments are required: FOLDER"),
    ("RUN NEW", "--to is missing: name transformers or sentence-transformers"),
    ("RUN NEW --to onnx", "invalid choice: 'onnx'"),
    ("nowhere NEW --to transformers", "nowhere: no such run; train one with"),
    (
        "RUN NEW --to transformers --task cfimdb",
        "no task cfimdb in this run; it has: sst, para, sts",
    ),
    ("RUN NEW --to transformers --task sst,para", "--task para: its head compares"),
    ("RUN . --to transformers", "is there already"),
    ("RUN FULL --to transformers", "full: is there already; name a new folder"),
    ("RUN FULL/file --to transformers", "file: is there already; name a new folder"),
    ("RUN FULL/file/x --to transformers", "x: cannot be written"),
    ("MEAN NEW --to transformers", "no head can be exported, say sst: transformers classifies"),
    ("PAIRS NEW --to sentence-transformers", "it has no vectors of single texts"),
]


@pytest.mark.parametrize(("line", "words"), WRONG)
def test_wrong_use_is_one_line_and_writes_nothing(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("years of work")
    places = {
        "RUN": make_run(),
        "MEAN": make_run(pooling="mean"),
        "PAIRS": make_run(tasks=("para", "sts"), cross_encoder=True),
        "NEW": tmp_path / "new",
        "FULL": tmp_path / "full",
    }
    for name, place in places.items():
        line = line.replace(name, str(place))
    capsys.readouterr()
    assert command.main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and words in printed.err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full"]


def test_an_empty_folder_is_filled(make_run: MakeRun, tmp_path: Path) -> None:
    assert export(make_run(), tmp_path, "sentence-transformers") == [tmp_path]
    assert (tmp_path / "modules.json").exists()


def test_a_users_own_tasks_go_along_on_their_own_scale(tmp_path: Path) -> None:
    toml = tmp_path / "own.toml"
    toml.write_text(
        'name = "mark"\ntitle = "A <b>mark</b>\\n# of `mine`\\u001b"\nkind = "regression"\n'
        'texts = "sentence"\nlabel = "sentiment"\n'
        'range = [-2, 6]\n[files]\ntrain = "data/ids-sst-train.csv"\ndev = "data/ids-sst-dev.csv"\n'
    )
    run = finished_run(tmp_path, task_file=(str(toml),), tasks=("mark",), data_dir=None)
    (folder,) = export(run, tmp_path / "out", "transformers")
    assert_same_answers(load(run), "mark", folder, random_rows(False))
    card = (folder / "README.md").read_text()
    assert "# A \\<b\\>mark\\</b\\> \\# of \\`mine\\`\\\\x1b: a BERT" in card
    assert "kept within -2 and 6" in card and str(tmp_path) not in card


def check_rows_of(data: Path, home: Path, **flags: Any) -> None:
    """Both libraries answer 200 dev rows of every task as two runs do."""
    for name, more in {"bi": {}, "cross": {"cross_encoder": True}}.items():
        own = {"data_dir": str(data), "limit": 16, "batch_size": 16, **flags, **more}
        run = finished_run(home / name, pooling="cls", **own)
        ask = load(run)
        for to in TO:
            for folder in export(run, home / name / to, to):
                task = TASKS["sts" if to != "transformers" else folder.name]
                file = data / task.files["dev"]
                rows = [row.texts for row in read_split(task, "dev", file, limit=200).examples]
                if to == "transformers":
                    assert_same_answers(ask, task.name, folder, rows)
                elif name == "bi":
                    assert_same_scores(ask, task.name, folder, rows)


def test_two_hundred_rows_of_the_sample_agree(tmp_path: Path) -> None:
    encoder = make_encoder(TINY, vocab_size=len(read_vocab(BUNDLED_ENCODER / "vocab.txt")))
    encoder.vocab_files = read_vocab_files(BUNDLED_ENCODER)
    encoder.save_pretrained(tmp_path / "encoder")
    check_rows_of(SAMPLE, tmp_path, weights=str(tmp_path / "encoder"))


@pytest.mark.slow
@pytest.mark.parametrize("real", [False, True], ids=["sample", "real"])
def test_two_hundred_rows_agree_with_the_bundled_encoder(
    tmp_path: Path, request: pytest.FixtureRequest, real: bool
) -> None:
    data = request.getfixturevalue("course_data") if real else SAMPLE
    check_rows_of(data, tmp_path, weights=str(BUNDLED_ENCODER), lr=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_sentence_transformers_itself_gives_the_same_vectors_and_scores(
    make_run: MakeRun, tmp_path: Path, pooling: str
) -> None:
    library = pytest.importorskip("sentence_transformers")
    run = make_run(**({} if pooling == "cls" else HEADS["mean"][0]))
    (folder,) = export(run, tmp_path / "out", "sentence-transformers")
    model = library.SentenceTransformer(str(folder), device="cpu")
    rows = random_rows(True)
    columns = list(zip(*rows, strict=True))
    first, second = (model.encode(list(column), convert_to_tensor=True) for column in columns)
    for column, vectors in zip(columns, (first, second), strict=True):
        assert (embedded(folder, column) - vectors).abs().max() <= 1e-5
    assert model.similarity_fn_name == "cosine"
    scores = 5 * model.similarity_pairwise(first, second).clip(0, 1)
    ours = [answer.score for answer in load(run)("sts", rows)]
    assert np.abs(scores.numpy() - ours).max() <= 1e-5


@pytest.mark.slow
def test_sentence_transformers_takes_a_cross_encoder(make_run: MakeRun, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    run = make_run(**HEADS["together"][0])
    (folder,) = export(run, tmp_path / "out", "transformers", ["sts"])
    rows = random_rows(True)
    scores = library.CrossEncoder(str(folder), device="cpu").predict(
        list(rows), activation_fn=torch.nn.Identity()
    )
    ours = [answer.score for answer in load(run)("sts", rows)]
    assert np.abs(scores.clip(0, 5) - ours).max() <= 1e-5


@pytest.mark.parametrize("lower", [True, False])
def test_capitals_mean_what_they_meant_in_the_run(tmp_path: Path, lower: bool) -> None:
    encoder = tmp_path / "encoder"
    save_encoder(encoder, TINY)
    (encoder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    run = finished_run(tmp_path, tasks=("sst",))
    rows = [("A very GOOD film",), ("a very good film",), ("Bad ACTING, dull Plot",)]
    ask = load(run)
    (folder,) = export(run, tmp_path / "out", "transformers")
    assert_same_answers(ask, "sst", folder, rows)
    first, second, _ = ask("sst", [text for (text,) in rows])
    assert (first.probabilities == second.probabilities) == lower
