"""Every table and figure of the paper, in its order: what shows it here, or why nothing can.

The page of the pipeline ``paper`` and ``docs/paper.md`` are both made from :data:`ITEMS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["defects", "classes"]
"""What a data set shows: defective images, or classes that are foreign to each other."""

SHOWN, OTHER_DATA, NO_RESULT, NOT_REPRODUCIBLE = (
    "shown",
    "of other data",
    "no result",
    "not reproducible",
)
"""What becomes of an item in a run."""

BANK = "the coreset: its projection and its starts"
EMBEDDED = f"{BANK}; where t-SNE begins"
CLUSTERED = f"{BANK}; K-means has a seed of its own, 42"
NOTHING = "nothing: there is no chance in it"
OTHERS = "the columns of other methods: they are not part of this project"
UNKNOWN = "the paper's own column: the text that its values were taken from lacks it"
DRAWN_ONLY = "the paper's curve: it is drawn without numbers"


@dataclass(frozen=True)
class PaperItem:
    """A table or figure of the paper.

    Attributes:
        name: As the paper calls it.
        title: What it shows.
        tasks: Pipelines whose results show it, by the kind of data set that it is of; empty where
            nothing here can.
        only: Data sets that it is of, where not of all of the kind.
        but_not: Data sets that another item is of.
        seed: What the run's seed decides of it.
        missing: What of it is not reproducible, and why; empty: nothing.
    """

    name: str
    title: str
    tasks: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    but_not: tuple[str, ...] = ()
    seed: str = NOTHING
    missing: str = ""

    def refusal(self, dataset: str, kind: Kind) -> str:
        """Why it is not of a data set; empty where it is.

        Args:
            dataset: Key of the data set; one that the paper does not have is taken for its kind.
            kind: What it shows.

        Example:
            >>> (item,) = (item for item in ITEMS if item.name == "Table 15")
            >>> item.refusal("mvtec", "defects"), item.refusal("cifar10", "classes")
            ('of cifar10 only', '')
        """
        if self.only and dataset not in self.only:
            return f"of {', '.join(self.only)} only"
        if kind not in self.tasks:
            return f"of data sets of {' and '.join(self.tasks)} only"
        if dataset in self.but_not:
            return f"not of {dataset}, which has a table of its own"
        return ""


_DEFECT: Mapping[Kind, tuple[str, ...]] = {"defects": ("defect",)}
_SEMANTIC: Mapping[Kind, tuple[str, ...]] = {"classes": ("semantic",)}
_SPLITS: Mapping[Kind, tuple[str, ...]] = {"classes": ("multiclass",)}
_ABLATED: Mapping[Kind, tuple[str, ...]] = {
    "defects": ("ablation", "multiclass_ablation"),
    "classes": ("ablation",),
}
_MASKED: Mapping[Kind, tuple[str, ...]] = {"defects": ("defect",), "classes": ("semantic",)}

ITEMS = (
    PaperItem("Figure 1", "Levels of anomaly and tasks", missing="a drawing, without results"),
    PaperItem(
        "Figure 2",
        "Overview of UniFormaly, and Algorithm 1",
        missing="a drawing and pseudo-code, without results",
    ),
    PaperItem(
        "Figure 3",
        "Training curves of online methods",
        missing="it trains DRAEM and CutPaste, which this project does not have",
    ),
    PaperItem(
        "Figure 4",
        "AUROC of a ResNet and of supervised and self-supervised ViTs",
        missing="its ResNet is no ViT; for the others run `defect` with `supervised_vitb16`, "
        "`mae_vitb16` or another of the backbones",
    ),
    PaperItem("Figure 5", "Attention, smoothed and as a mask", _MASKED),
    PaperItem(
        "Table 1",
        "Detection of defects",
        _DEFECT,
        but_not=("btad", "mtd", "cpd"),
        seed=BANK,
        missing=OTHERS,
    ),
    PaperItem(
        "Table 2",
        "Detection of defects: MTD, BTAD and CPD",
        _DEFECT,
        only=("mtd", "btad", "cpd"),
        seed=f"{BANK}; for mtd `split.seed` draws the train images",
        missing=f"{OTHERS}; {UNKNOWN}",
    ),
    PaperItem(
        "Table 3",
        "Semantic anomaly detection, one class normal",
        _SEMANTIC,
        seed=BANK,
        missing=OTHERS,
    ),
    PaperItem(
        "Table 4",
        "Detection of defects with one memory bank of all categories",
        {"defects": ("multiclass", "defect")},
        seed=BANK,
        missing=f"{OTHERS}; to the digit: the authors' masks depend on the other images of a batch",
    ),
    PaperItem(
        "Table 5",
        "Semantic anomaly detection, many classes normal (CIFAR-10)",
        _SPLITS,
        only=("cifar10",),
        seed=BANK,
        missing=f"{OTHERS}; {UNKNOWN}",
    ),
    PaperItem(
        "Table 6",
        "Semantic anomaly detection, many classes normal",
        _SPLITS,
        but_not=("cifar10",),
        seed=f"{BANK}; for species60 `split.seed` draws the test images",
        missing=f"{OTHERS}; {UNKNOWN}",
    ),
    PaperItem(
        "Table 7",
        "Clusters of test images",
        {"defects": ("clustering",)},
        seed=CLUSTERED,
        missing=OTHERS,
    ),
    PaperItem(
        "Figure 6",
        "Few normal images",
        {"defects": ("lowshot",)},
        seed="which images are drawn; the coreset of each draw",
        missing=f"other methods; {DRAWN_ONLY}",
    ),
    PaperItem("Figure 7", "AUROC against the top-k ratio", _ABLATED, seed=BANK, missing=DRAWN_ONLY),
    PaperItem(
        "Table 8",
        "Which patches stand for an image in clustering",
        {"defects": ("clustering",)},
        seed=CLUSTERED,
    ),
    PaperItem(
        "Table 9",
        "Kernel that smooths the attention",
        _ABLATED,
        seed=BANK,
        missing="the multi-class rows to the digit, as for Table 4",
    ),
    PaperItem(
        "Table 10",
        "Masking: threshold, binary and soft",
        _ABLATED,
        seed=BANK,
        missing="the multi-class rows to the digit, as for Table 4",
    ),
    PaperItem(
        "Table 11",
        "Comparison with other transformers",
        missing="InTra and UniAD train networks of their own, which this project does not have; "
        "the paper does not say which backbone its own column is of; for PatchCore on the same "
        "features set `scoring.method=patchcore`",
    ),
    PaperItem(
        "Tables 12 and 13",
        "The classes of Species-60 and its splits",
        missing="no results but lists: `datasets.species60.splits` and the layout `species60`",
    ),
    PaperItem(
        "Figure 8",
        "Clusters of two categories by All, Max and top-k",
        {"defects": ("clustering",)},
        seed=EMBEDDED,
    ),
    PaperItem(
        "Figure 9", "Clusters of all categories", {"defects": ("clustering",)}, seed=EMBEDDED
    ),
    PaperItem("Figure 11", "How smoothed attention is distributed", _MASKED),
    PaperItem("Figure 12", "Images as Back Patch Masking leaves them", _MASKED),
    PaperItem(
        "Appendix F",
        "Periodic evaluation of an online method",
        missing="as Figure 3",
    ),
    PaperItem(
        "Table 14",
        "Detection of defects, each category",
        _DEFECT,
        but_not=("btad", "mtd", "cpd"),
        seed=BANK,
    ),
    PaperItem("Table 15", "Each class of CIFAR-10", _SEMANTIC, only=("cifar10",), seed=BANK),
    PaperItem("Table 16", "Each superclass of CIFAR-100", _SEMANTIC, only=("cifar100",), seed=BANK),
    PaperItem("Table 17", "Each class of ImageNet-30", _SEMANTIC, only=("imagenet30",), seed=BANK),
    PaperItem(
        "Table 18",
        "Semantic anomaly detection, each class",
        _SEMANTIC,
        but_not=("cifar10", "cifar100", "imagenet30"),
        seed=BANK,
    ),
    PaperItem(
        "Figure 10",
        "A memory bank of many classes",
        {"defects": ("multiclass",), "classes": ("multiclass",)},
        seed=f"{EMBEDDED}; which vectors are drawn, of more than 1,500",
    ),
)
"""In the paper's order."""

_ORDER = (
    "defect",
    "semantic",
    "multiclass",
    "clustering",
    "lowshot",
    "ablation",
    "multiclass_ablation",
)


def tasks_for(kind: Kind) -> list[str]:
    """The tasks that the paper has results of on such data sets, the main one first.

    Example:
        >>> tasks_for("classes")
        ['semantic', 'multiclass', 'ablation']
    """
    needed = {task for item in ITEMS for task in item.tasks.get(kind, ())}
    return [task for task in _ORDER if task in needed]


TEXTURES: Mapping[str, frozenset[str]] = {
    "mvtec": frozenset({"carpet", "grid", "leather", "tile", "wood"}),
    "demo": frozenset({"denim", "leather", "oak"}),
}
"""Categories without an object before a background, by data set (Fig. 11)."""
