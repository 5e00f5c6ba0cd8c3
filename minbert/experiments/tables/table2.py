"""The poster's Table 2, `python -m minbert.experiments table2`: nine ways to train three tasks.

The figures are from the poster "Walk Less and Only Down Smooth Valleys", on the dev sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from minbert.experiments.grid.config import GRID, GridConfig, add_modes
from minbert.experiments.grid.experiment import POSTER, SECONDS, Experiment, GridRow
from minbert.experiments.tables.command import grid_command
from minbert.support.flags import flag

_DESCRIPTION = """\
Run the nine rows of the poster's Table 2 and print it with the poster's figures beside ours, and
which differences are more than noise. Flags of the main job follow after --. Typical:

  python -m minbert.experiments table2 --scale small --workers 2
  python -m minbert.experiments table2 --rows "finetune rrobin" "finetune smart" -- --weights NAME
"""
MATCHED, AS_PUBLISHED = "matched", "as-published"
_BATCH = "--batch_size 64"
# What the poster's own code and report do beyond the flags of a row (jelc53/nlp-minibert on GitHub:
# multitask_classifier.py, bregmanDiv.py; finalreport.tex, "Experimental details"). Rows with SMART
# had batches of 16 for lack of memory, and clipping, which no other row had.
_SMART = "--batch_size 16 --clip 1 --bregman_dropout independent"
_FIXED, _SCALED = "--epoch_rows fixed", "--sts_scale 1"
_RLAYER = "--rlayer_dropout 0.3 --rlayer_activation sigmoid"
_CONTROL = "finetune rrobin, batch 16"  # what SMART's row differs from by SMART and clipping alone
_NOTES = {
    MATCHED: (
        "the poster's rows with SMART had batches of 16 where the others had 64: its seconds "
        "beside ours, and the ratios between its rows, are of two batch sizes",
    ),
    AS_PUBLISHED: (
        "as the poster's code has it: rows with SMART have batches of 16, so four times the "
        "updates of --rrobin, and clipping to norm 1; with --rrobin every epoch has the same rows; "
        "STS trains on 0..1; the Bregman term keeps its dropout",
        "other than there: with --rrobin full at batches of 16 an epoch has as many rounds as "
        "Quora has batches, not at most as STS has rows; and the divergences are the paper's, "
        "where the poster's of one logit were always 0",
        "its scores on test, of the last of its rows: SST .503, Quora .865, STS .789",
    ),
}


@dataclass(frozen=True)
class Table2Config(GridConfig):
    """The settings of the table's rows, and how much of the table is run."""

    settings: str = flag(
        MATCHED,
        GRID,
        "matched: all rows share batch size and clipping, so that rows differ by their method "
        "only; as-published: as the poster's own code has it, where rows with SMART had other "
        "batches and clipping, with one more row that has these batches without SMART",
        choices=tuple(_NOTES),
    )

    @staticmethod
    def add_short_flags(group: Any) -> None:
        """Add `--matched` and `--as-published`."""
        add_modes(group, _NOTES)


_PUBLISHED = {  # flags beside --option, then dev scores of SST, Quora and STS, seconds an epoch
    "pretrain default": ("", 0.396, 0.380, 0.019, 9),
    "finetune default": ("", 0.525, 0.522, 0.240, 25),
    "finetune smart": ("--smart", 0.520, 0.501, 0.382, 161),
    "finetune rrobin": ("--rrobin", 0.524, 0.726, 0.583, 67),
    "finetune rrobin+smart": ("--rrobin --smart", 0.532, 0.741, 0.680, 464),
    "finetune rrobin-pre+smart": ("--rrobin pre --smart", 0.519, 0.851, 0.690, 3037),
    "finetune rrobin-full": ("--rrobin full", 0.498, 0.863, 0.762, 1420),
    "finetune rrobin-full+smart": ("--rrobin full --smart", 0.485, 0.850, 0.714, 4549),
    "finetune rrobin-full+rlayer": ("--rrobin full --rlayer", 0.501, 0.867, 0.802, 1550),
}
_COMPARED: tuple[tuple[str, str], ...] = (  # the pairs that the poster draws conclusions from
    ("finetune default", "pretrain default"),
    ("finetune smart", "finetune default"),
    ("finetune rrobin", "finetune default"),
    ("finetune rrobin+smart", "finetune rrobin"),
    ("finetune rrobin-pre+smart", "finetune rrobin+smart"),
    ("finetune rrobin-full", "finetune rrobin"),
    ("finetune rrobin-full+smart", "finetune rrobin-full"),
    ("finetune rrobin-full+rlayer", "finetune rrobin-full"),
)


def experiment(mode: str = MATCHED) -> Experiment:
    """The nine rows and the comparisons, with the settings of this `mode`."""
    rows, compared, shared = tuple(_row(name, mode) for name in _PUBLISHED), _COMPARED, _BATCH
    if mode == AS_PUBLISHED:
        flags = f"--option finetune --rrobin --batch_size 16 {_FIXED} {_SCALED}"
        seconds = _PUBLISHED["finetune rrobin"][-1]
        rows, shared = (*rows, GridRow(_CONTROL, (flags,), cost=float(seconds))), ""
        compared = (*_COMPARED, ("finetune rrobin+smart", _CONTROL))
    what = (f"table2-{mode}", f"Table 2, {mode}", ("sst", "para", "sts"))
    return Experiment(*what, rows, compared, POSTER, shared, _NOTES[mode])


def _row(name: str, mode: str) -> GridRow:
    flags, sst, para, sts, seconds = _PUBLISHED[name]
    words = ["--option", name.split()[0], flags]
    if mode == AS_PUBLISHED:
        words += [_SMART if "--smart" in flags else _BATCH]
        words += [_SCALED] if "--rrobin" in flags else []
        words += [_FIXED] if "--rrobin" in flags and "full" not in flags else []
        words += [_RLAYER] if "--rlayer" in flags else []
    published = {"sst": sst, "para": para, "sts": sts, SECONDS: seconds}
    return GridRow(name, (" ".join(word for word in words if word),), published, seconds)


def _of_settings(config: Table2Config, _extra: Sequence[str]) -> Experiment:
    return experiment(config.settings)


main = partial(grid_command, "table2", _DESCRIPTION, Table2Config, _of_settings)
