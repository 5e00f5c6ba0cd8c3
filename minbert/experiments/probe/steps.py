"""The cells of a probing experiment: links of a chain, features of an encoder, probes of features.

A link's cell trains from the encoder of the link before. That encoder's bytes are unknown when the
chain is planned, so the key of a link holds the key of the one before: by induction all that
decides its result. Features and probes hold their encoder's key in the same way. Each kind has a
code hash of its own, so that an edit of the probes makes no new links.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minbert.experiments.grid.cells import MAIN_JOB, Cell, configuration, key_of

LINK, FEATURES, PROBES = "link", "features", "probes"
PRETRAINED, RANDOM = "pretrained", "random"
ENCODER = "encoder"  # the folder of a link's encoder, within the cell's
SECONDS = "seconds.txt"  # what the step took; beside the result, whose bytes are always the same
_CODE = {  # the module whose imports decide a kind's results
    LINK: MAIN_JOB,
    FEATURES: "minbert.experiments.probe.features",
    PROBES: "minbert.experiments.probe.probes",
}


@dataclass(frozen=True)
class Step(Cell):
    """A cell of the experiment. `command` has the main job's flags that name data and weights.

    `parent` is the key of what it builds on: a link's link before ("" for the first), the link
    whose encoder gives features ("" for one of the `row`'s references), the features of probes.
    `reference` is the key of the pretrained encoder's features, from which drift is measured.
    """

    kind: str = LINK
    parent: str = ""
    reference: str = ""
    solver: str = ""
    input: str = ""
    drift_texts: int = 0
    updates: float = 1.0  # share of the published solver's updates

    @property
    def module(self) -> str:
        """The module whose `main` is the step's process."""
        return "minbert.experiments.probe.process"

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the steps that must be done before."""
        return tuple(filter(None, (self.parent, self.reference)))

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Step:
        """The step from its JSON."""
        return cls(**kept)

    def keyed(self) -> Step:
        """This step with its key. Raises InputError where the command is wrong."""
        return replace(self, key=self.own_key())

    def own_key(self) -> str:
        """The key that settings, files, code and parents make at this moment."""
        facts = {"kind": self.kind, "parent": self.parent, "reference": self.reference}
        if self.kind == FEATURES:
            facts |= {"drift_texts": str(self.drift_texts)}
            facts |= {} if self.parent else {"encoder": self.row}
            facts |= {"seed": str(self.seed)} if self.row == RANDOM else {}
        if self.kind == PROBES:
            facts |= {"solver": self.solver, "input": self.input, "updates": f"{self.updates:g}"}
        return key_of(configuration(self.command), _CODE[self.kind], **facts)

    def parent_folder(self, out: Path) -> Path:
        """The folder of what it builds on."""
        return out / "cells" / self.parent
