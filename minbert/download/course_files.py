"""The course's twelve data files, from its public repository, checked against pinned hashes."""

from pathlib import Path

from minbert.download.fetch import Expected, fetch, open_client
from minbert.download.retries import Patience, Unreachable
from minbert.support.console import log
from minbert.support.errors import RunError
from minbert.support.places import COURSE

BASE = "https://raw.githubusercontent.com/gpoesia/minbert-default-final-project/main/data"

# git's blob SHA-1 and the size in bytes; two sizes are not known
FILES = {
    "ids-sst-train.csv": Expected("9cb7333cb1dae49c2bd2a4b56a24882a6e8704b5", 1_175_139),
    "ids-sst-dev.csv": Expected("3171aa629a340809d2db4a50df8f6e5ec9420ab0", 151_384),
    "ids-sst-test-student.csv": Expected("bbd2313758825f86e24416d6aad64cd93370cf7a", 313_202),
    "ids-cfimdb-train.csv": Expected("cd57bcbd2f7214ea6dd1783d3e885d324b1f478d", 1_693_182),
    "ids-cfimdb-dev.csv": Expected("8a0f5dcf3d40189b96c801a12cd79bf8003e61de", 249_095),
    "ids-cfimdb-test-student.csv": Expected("1e789c709b3ca0511f027a309b6d8bd21cde41b2", 495_595),
    "sts-train.csv": Expected("12b17760e7795fee35aeeabc290d5651de02622a", 928_832),
    "sts-dev.csv": Expected("9392860e584717976b8d817cc40c9e6ceeec27e0", 132_265),
    "sts-test-student.csv": Expected("25f0cf8fafdd1f82b9e2bb460c708af34341ce60", 256_677),
    "quora-dev.csv": Expected("de7cfa32428fd470b93f778fccc45a619e01336f", 3_205_321),
    "quora-train.csv": Expected("a3b5546f6a0e65b60a328a5d294d1038f5bed1da"),
    "quora-test-student.csv": Expected("f257ef00558555afb50819578a58205732b16354"),
}


def fetch_data(base: str, patience: Patience) -> str:
    """Fetch what `data/` lacks of the twelve files from `base`; returns the line that says so.

    A file that fails does not keep the others from being fetched. Raises RunError naming the files
    that are not there. A file of another content is left as it is and counts among them.
    """
    failed: list[str] = []
    reached = True
    with open_client(patience) as client:
        for name, expected in FILES.items():
            target = COURSE / name
            try:
                if _is_there(target, expected):
                    continue
                if not reached:
                    raise RunError(f"{target}: not tried, as the server was not reached before")
                fetch(client, f"{base.rstrip('/')}/{name}", target, expected, patience)
                log.info("%s: fetched, its hash is right", target)
            except RunError as error:
                log.error("error: %s", error)
                failed.append(name)
                reached = reached and not isinstance(error, Unreachable)
    if failed:
        raise RunError(
            f"{COURSE}/ lacks {len(failed)} of the course's {len(FILES)} files, for the reasons "
            f"above: {', '.join(failed)} (--data_url names a mirror)"
        )
    return f"data: the course's {len(FILES)} files are in {COURSE}/, their hashes are right"


def _is_there(target: Path, expected: Expected) -> bool:
    """Return whether a file is there already. Raises RunError if it has another content."""
    if expected.holds(target):
        log.info("%s: there already, its hash is right", target)
        return True
    if target.exists() or target.is_symlink():
        raise RunError(
            f"{target}: holds something else than the course's file ({expected.kind} "
            f"{expected.digest}): move it away and run the same command again"
        )
    return False
