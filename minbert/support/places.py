"""Default places of files: the course's in the working folder, ours beside the package."""

from pathlib import Path

_BUNDLED = Path(__file__).resolve().parents[2] / "data"
SAMPLE = _BUNDLED / "sample"
BUNDLED_ENCODER = _BUNDLED / "minbert-mini"
COURSE = Path("data")
COURSE_ENCODER = COURSE / "bert-base-uncased"
