"""The command `python -m minbert.pretrain`: text files to an encoder."""

import dataclasses
import sys
from collections.abc import Sequence

from minbert.encoder.locate import encoder_folder
from minbert.pretrain.config import PretrainConfig
from minbert.pretrain.job import run
from minbert.support.command import run_command
from minbert.support.flags import OneLineParser, parser_for, refuse_idle
from minbert.support.signals import StopRequest
from minbert.training import group
from minbert.training.repeating import add_like, with_earlier

_DESCRIPTION = """\
Pretrain a BERT encoder on plain text, by masked language modelling and next-sentence prediction,
or go on from one with --weights, or teach it the vectors of a better one with --teacher. Typical:

  python -m minbert.pretrain --text wiki/*.txt.xz --time_budget 2h --dropout 0 --save my-encoder
  python -m minbert.pretrain --text reviews.txt --weights my-encoder --no_nsp --passes 3
  python -m minbert.pretrain --text wiki/*.txt.xz --teacher better-encoder --embeddings teacher
"""


def make_parser() -> OneLineParser:
    """The parser, with a flag for each field of PretrainConfig; it stores only typed flags."""
    parser = parser_for(
        PretrainConfig,
        prog="python -m minbert.pretrain",
        usage="%(prog)s --text FILE [FILE ...] [flags]",
        description=_DESCRIPTION,
    )
    add_like(parser)
    return parser


def parse(argv: Sequence[str]) -> PretrainConfig:
    """The configuration that the flags say, with its encoders located. Raises InputError."""
    parser = make_parser()
    typed = vars(parser.parse_args(argv))
    given = with_earlier(typed, parser, PretrainConfig, lambda _: ("output_dir", "resume", "save"))
    config = PretrainConfig(**given)
    refuse_idle(config, typed)
    if config.weights is not None:
        config = dataclasses.replace(config, weights=str(encoder_folder(config.weights)))
    if config.teacher is not None:
        teacher = encoder_folder(config.teacher, "--teacher")
        config = dataclasses.replace(config, teacher=str(teacher))
    return config


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    return run_command(lambda stop: _run(arguments, stop))


def _run(arguments: Sequence[str], stop: StopRequest) -> None:
    with group.joined():
        run(parse(arguments), stop)


if __name__ == "__main__":
    sys.exit(main())
