"""The command `python -m minbert.download`: the course's data and published encoders, checked."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from huggingface_hub import constants

from minbert.download.course_files import BASE, fetch_data
from minbert.download.encoders import fetch_weights
from minbert.download.http import http
from minbert.download.retries import Patience
from minbert.encoder import hub
from minbert.encoder.hub import Published
from minbert.support.command import run_command, show
from minbert.support.console import log
from minbert.support.errors import InputError, RunError
from minbert.support.flags import OneLineParser, flag, parser_for
from minbert.support.signals import StopRequest

_DESCRIPTION = """\
Fetch what the main job needs and never fetches itself: without flags the course's twelve data
files into data/, and bert-base-uncased into data/bert-base-uncased/. A file takes its place when
its hash was found right; the same command a second time goes on where the first one stopped.
"""
_DATA, _WEIGHTS = "data", "encoder"


@dataclass(frozen=True)
class DownloadConfig:
    """The settings of a download. Neither `data` nor `weights` means data and bert-base-uncased."""

    data: bool = flag(False, _DATA, "the course's data files, into data/")
    data_url: str | None = flag(
        None, _DATA, f"folder that has them, for a mirror; default {BASE}", metavar="URL"
    )
    weights: str | None = flag(
        None,
        _WEIGHTS,
        "a published encoder in the layout of BERT, RoBERTa or XLM-R, into the hub's local cache "
        "(HF_HOME says where), in which the main job's --weights NAME finds it; "
        "bert-base-uncased is pinned, and is put into data/bert-base-uncased/ as well",
        metavar="NAME",
    )
    revision: str | None = flag(
        None,
        _WEIGHTS,
        "branch, tag or commit of --weights; default main. The main job then takes it as "
        "--weights NAME@REV",
        metavar="REV",
    )

    def __post_init__(self) -> None:
        if self.revision is not None and self.weights is None:
            raise InputError("--revision would do nothing here: it needs --weights")
        if self.data_url is not None and self.base is None:
            raise InputError("--data_url would do nothing here: it needs --data")

    @property
    def base(self) -> str | None:
        """The address that the data files are fetched from; None where none are."""
        if self.weights is not None and not self.data:
            return None
        return BASE if self.data_url is None else _checked_url(self.data_url)

    @property
    def wanted(self) -> Published | None:
        """The encoder that is fetched; None where none is."""
        if self.data and self.weights is None:
            return None
        name = "bert-base-uncased" if self.weights is None else self.weights
        if self.revision is None:
            return hub.parse(name)
        if "@" in name:
            raise InputError(f"--revision {self.revision}: --weights {name} names one already")
        return hub.parse(f"{name}@{self.revision}")


def _checked_url(text: str) -> str:
    try:
        url = http.URL(text)
    except http.InvalidURL as error:
        raise InputError(f"--data_url {text}: not an address ({error})") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"--data_url {text}: needs an address that begins with http(s)://")
    return text


def make_parser() -> OneLineParser:
    """Return the parser: one flag for each field of DownloadConfig."""
    program = "python -m minbert.download"
    return parser_for(
        DownloadConfig, prog=program, usage="%(prog)s [flags]", description=_DESCRIPTION
    )


def run(config: DownloadConfig, patience: Patience) -> None:
    """Fetch data and encoder, as far as they are wanted, and print a line for each.

    Where one fails, the other is fetched all the same. Raises InputError, RunError or OSError.
    """
    constants.HF_HUB_DISABLE_TELEMETRY = True  # the hub need not be told what runs here
    base, wanted = config.base, config.wanted
    steps: list[Callable[[], str]] = []
    if base is not None:
        steps.append(lambda: fetch_data(base, patience))
    if wanted is not None:
        steps.append(lambda: fetch_weights(wanted, patience))
    failed: list[Exception] = []
    for step in steps:
        try:
            show(step())
        except (InputError, RunError, OSError) as error:
            failed.append(error)
    for earlier in failed[:-1]:
        log.error("error: %s", earlier)
    if failed:
        raise failed[-1]


def main(argv: Sequence[str] | None = None, patience: Patience | None = None) -> int:
    """Run the command; returns the exit code."""

    def work(_stop: StopRequest) -> None:
        run(DownloadConfig(**vars(make_parser().parse_args(argv))), patience or Patience())

    return run_command(work, if_stopped="the same command goes on where it stopped")


if __name__ == "__main__":
    sys.exit(main())
