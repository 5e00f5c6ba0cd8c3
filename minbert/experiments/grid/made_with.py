"""What made a finished run: its weights, machine, versions and commit, from the manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def made_with(manifest: Mapping[str, Any]) -> str:
    """One line; empty where the manifest says too little."""
    if not (manifest.keys() >= {"config", "device", "threads", "versions", "git"}):
        return ""
    git = manifest["git"] or {"commit": "unknown", "changed": False}
    changed = ", with changes" if git["changed"] else ""
    return (
        f"weights {Path(manifest['config']['weights']).name}; {manifest['device']}, "
        f"{manifest.get('processor', 'processor unknown')}, "
        f"threads: {manifest['threads']}; torch {manifest['versions']['torch']}; "
        f"commit {git['commit'][:12]}{changed}"
    )
