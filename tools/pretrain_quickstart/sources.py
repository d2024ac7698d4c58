"""The committed lists of source pictures: what is trained on, what is held out."""

from __future__ import annotations

import csv
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

LISTS = ("training", "heldout")
Half = Literal["tuning", "reporting"]

LIST_FOLDER = Path(__file__).parent / "sources"
_HEADER = ("key", "kind", "family", "licence", "split")


@dataclass(frozen=True)
class Source:
    """One source picture.

    Attributes:
        key: Name in `SourceLibrary`.
        kind: `object` (cut-out with alpha) or `texture`.
        family: Key shared by near duplicates, which are never split between training and test.
        licence: What the package's copyright file or upstream's change log says.
        split: `training`, `tuning` or `reporting`.
    """

    key: str
    kind: str
    family: str
    licence: str
    split: str

    @property
    def category(self) -> str:
        """Category of an object, such as `animals/birds`; folder of a texture."""
        return "/".join(self.key.split("/")[1:-1][:2])


def write_sources(name: str, sources: list[Source]) -> None:
    """Write one list, sorted, one source a line."""
    LIST_FOLDER.mkdir(exist_ok=True)
    with (LIST_FOLDER / f"{name}.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(sorted(astuple(source) for source in sources))


def read_sources(name: str, kind: str, half: Half | None = None) -> list[Source]:
    """Read one list.

    Args:
        name: `training` or `heldout`.
        kind: `object` or `texture`.
        half: Keep only this half of the held-out sources.
    """
    with (LIST_FOLDER / f"{name}.tsv").open(newline="", encoding="utf-8") as file:
        sources = [Source(**row) for row in csv.DictReader(file, delimiter="\t")]
    return [s for s in sources if s.kind == kind and (half is None or s.split == half)]
