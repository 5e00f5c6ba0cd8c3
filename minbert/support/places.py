"""Default places of files: the course's in the working folder, ours beside or in the package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
IS_INSTALLED = (_PACKAGE / "bundled").is_dir()  # from a wheel; in a clone it is data/ beside it
_BUNDLED = _PACKAGE / "bundled" if IS_INSTALLED else _PACKAGE.parent / "data"
MAIN_JOB = "minbert train" if IS_INSTALLED else "python multitask_classifier.py"  # as one types it
SAMPLE = _BUNDLED / "sample"
BUNDLED_ENCODER = _BUNDLED / "minbert-mini"
COURSE = Path("data")
COURSE_ENCODER = COURSE / "bert-base-uncased"
