"""XNLI (Conneau et al. 2018): one model, trained in one language and scored in fifteen.

Its files are read as published (`xnli.dev.tsv`, all languages in one file) or as one file for each
language, without a header (`dev-de.tsv`: premise, hypothesis, label). The other languages' scores
are those of further dev files of the same task, since they have the same head.
"""

from collections.abc import Iterator
from pathlib import Path

from minbert.tasks.glue import GLUE
from minbert.tasks.own import CLASSES, Definition

PREFIX = "xnli-"
LANGUAGES = (
    *("ar", "bg", "de", "el", "en", "es", "fr", "hi"),
    *("ru", "sw", "th", "tr", "ur", "vi", "zh"),
)
_COLUMNS = (*GLUE["mnli"].texts, GLUE["mnli"].label)  # which MNLI's files have, too
_WHOLE = {"dev": "xnli.dev.tsv", "test": "xnli.test.tsv"}  # the test set has labels as well


def definition(name: str, directory: Path, glue: Path | None = None) -> Definition:
    """The task `xnli-LANGUAGE` as the files below `directory` have it.

    It trains on `train-LANGUAGE.tsv` there or, for English, on MNLI's training set below `glue`.
    Raises ValueError where there is nothing to train on.
    """
    language = name.removeprefix(PREFIX)
    files = {"train": str(_train(language, directory, glue))}
    parts: dict[str, str] = {}
    home = language if language in LANGUAGES else "en"
    for split, path, part in _scored(home, directory):
        files[split] = str(path)
        if part:
            parts[split] = part
    if "dev" not in files:
        raise ValueError(f"{directory}: has neither dev-{home}.tsv nor {_WHOLE['dev']}")
    return Definition(
        name=name,
        kind=CLASSES,
        texts=GLUE["mnli"].texts,
        label=GLUE["mnli"].label,
        files=files,
        labels=GLUE["mnli"].labels,
        title=f"XNLI ({language})",
        id="pairID",
        numbered=True,
        quotes=False,
        delimiter="\t",
        columns=_COLUMNS,
        part="language",
        parts=parts,
    )


def _train(language: str, directory: Path, glue: Path | None) -> Path:
    places = [directory / f"train-{language}.tsv"]
    if language == "en" and glue is not None:
        places.append(glue / (GLUE["mnli"].files or {})["train"])
    for place in places:
        if place.is_file():
            return place
    hint = ", and give --glue_dir for MNLI's" if language == "en" and glue is None else ""
    raise ValueError(f"{places[0]}: no such file to train on{hint}")


def _scored(home: str, directory: Path) -> Iterator[tuple[str, Path, str]]:
    """The dev files by split, each with the part of it that counts; `home` is the first."""
    for language in (home, *(other for other in LANGUAGES if other != home)):
        for kind, whole in _WHOLE.items():
            first = language == home and kind == "dev"
            split = "dev" if first else f"{'dev' if kind == 'dev' else 'dev_test'}_{language}"
            apart = directory / f"{kind}-{language}.tsv"
            if apart.is_file():
                yield split, apart, ""
            elif (directory / whole).is_file():
                yield split, directory / whole, language
