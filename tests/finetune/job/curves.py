"""The curves that trackers have stored, read back by what each of them promises of its files."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

Curves = dict[str, list[tuple[int, float]]]
_BLOCK = 32768  # bytes of a block in wandb's file, whose records are those of LevelDB's log


def tensorboard(folder: Path) -> Curves:
    """What TensorBoard itself reads, without leaving out points of long curves."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def wandb(folder: Path) -> Curves:
    """What `wandb sync` would send, of the only offline run that there may be."""
    from wandb.proto import wandb_internal_pb2

    curves: Curves = defaultdict(list)
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    for content in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        items = {(item.nested_key or [item.key])[0]: item for item in record.history.item}
        for name, item in items.items():
            if name[0] != "_":
                step = int(items["_step"].value_json)
                curves[name].append((step, float(item.value_json)))
    return dict(curves)


def _records(data: bytes) -> Iterator[bytes]:
    at, whole = 7, b""  # behind the file's header
    while at + 7 <= len(data):
        if (left := _BLOCK - at % _BLOCK) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            yield whole
            whole = b""


def trackio(_folder: Path) -> Curves:
    """What `trackio show` shows of the only run that there may be."""
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    curves: Curves = defaultdict(list)
    (run,) = Api().runs("minbert")
    for row in SQLiteStorage.get_logs("minbert", run.name):
        step = row.pop("step")
        row.pop("timestamp")
        for name, value in row.items():
            curves[name].append((step, value))
    return dict(curves)
