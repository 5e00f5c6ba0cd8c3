"""The pooling that a published folder names, in the file that sentence-transformers writes."""

from pathlib import Path

from minbert.support import untrusted

POOLING_FILE = "1_Pooling/config.json"
_MODE, _SWITCH = "pooling_mode", "pooling_mode_"


def named_pooling(folder: Path) -> str | None:
    """The pooling's name: `mean`, `cls`, `max`, ..., or several joined by `+`; None for no name.

    sentence-transformers writes a switch for each way (`pooling_mode_mean_tokens`), in later
    versions one name (`pooling_mode`). Its `cls` is the last hidden state of [CLS], without BERT's
    pooler. Raises InputError for a file that cannot be read.
    """
    path = folder / POOLING_FILE
    if not path.is_file():
        return None
    said = untrusted.read_object(path)
    on = [name.removeprefix(_SWITCH) for name in said if name.startswith(_SWITCH) and said[name]]
    if isinstance(said.get(_MODE), str):
        on = [said[_MODE]]
    return "+".join(name.removesuffix("_tokens").removesuffix("_token") for name in on) or None
