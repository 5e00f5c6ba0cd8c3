"""`export`: a finished run written as a folder that another library loads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from minbert.export import published
from minbert.export.card import card
from minbert.export.forms import SENTENCES, TRANSFORMERS, exportable
from minbert.finetune.trained import TrainedRun, read_run
from minbert.support import durable_files
from minbert.support.console import log
from minbert.support.outputs import check_new_folder

_TEXT, _PAIR = '"a fine film"', '{"text": "a man sings", "text_pair": "a woman sings"}'
_USES = {
    TRANSFORMERS: """\
from transformers import pipeline

ask = pipeline("text-classification", model="FOLDER")
ask(TEXT)
""",
    SENTENCES: """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
vectors = model.encode(["a man sings", "a woman sings"])
model.similarity(vectors, vectors)
""",
}


def export(run: Path, folder: Path, to: str, named: Sequence[str] | None = None) -> list[Path]:
    """Write a run to a new folder for a library; return the folders that the library can load.

    Raises InputError for what is no finished run, for a head that the library cannot hold, and for
    a folder that is there already.
    """
    check_new_folder(folder)
    trained = read_run(run, "cpu")
    tasks, refused = exportable(trained, named, to)
    for line in refused:
        log.info("not exported: %s", line)
    with durable_files.new_folder(folder) as draft:
        if to == SENTENCES:
            files = published.sentence_encoder(trained)
            _write(trained, to, tasks, draft, folder.name, files)
            return [folder]
        for task in tasks:
            files = published.classifier(trained, trained.config.task(task))
            _write(trained, to, [task], draft / task, f"{folder.name}/{task}", files)
    return [folder / task for task in tasks]


def _write(
    run: TrainedRun,
    to: str,
    names: Sequence[str],
    draft: Path,
    name: str,
    files: Mapping[str, published.Content],
) -> None:
    """Write files and model card into `draft`, a folder that the card calls by its `name`."""
    tasks = [run.config.task(name) for name in names]
    text = _PAIR if any(task.is_pair for task in tasks) else _TEXT
    use = _USES[to].replace("FOLDER", name).replace("TEXT", text)
    readme = card(run, to, tasks, use)
    published.write(draft, {**files, "README.md": readme})
