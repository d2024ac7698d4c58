"""The settings that the paper's numbers belong to (METHOD, its data sets and its backbones)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

METHOD: dict[str, Any] = {
    "bpm.mode": "binary",
    "bpm.kernel_size": 7,
    "bpm.threshold": 0.1,
    "memory_bank.projection_dim": 128,
    "memory_bank.num_starts": 10,
    "memory_bank.coreset_parts": 1,
    "scoring.method": "uniformaly",
    "scoring.top_k_ratio": 0.05,
    "scoring.num_neighbors": 1,
    "scoring.search": "Flat",
    "evaluation.mask_threshold": 1.0,
}
"""By dotted key; what changes nothing but speed is left out, and what rounds, such as
``features.dtype``."""

_PHOTO = {"resize": 256, "crop": 224, "pad": None, "interpolation": "bilinear"}
_SMALL = {"resize": 112, "crop": None, "pad": 224, "interpolation": "lanczos"}
_WHOLE = {"test_share": 0.2, "cap": None, "min_images": 0}

DATASETS: dict[str, dict[str, Any]] = {
    "mvtec": {"layout": "mvtec", "preprocessing": _PHOTO, "split": _WHOLE, "splits": None},
    "cifar10": {"layout": "cifar10", "preprocessing": _SMALL, "split": _WHOLE},
    "cifar100": {"layout": "cifar100", "preprocessing": _SMALL, "split": _WHOLE},
    "imagenet30": {"layout": "imagenet30", "preprocessing": _PHOTO, "split": _WHOLE},
    "species60": {
        "layout": "species60",
        "preprocessing": _PHOTO,
        "split": _WHOLE | {"min_images": 501},
    },
}
"""Sections of ``datasets`` with what the paper's numbers depend on. Seeds are left out: the
paper does not say its own."""

CORESET_RATIOS: dict[str, dict[str, float]] = {
    "memory_bank.coreset_ratio": {
        "mvtec": 0.1,
        "cifar10": 0.05,
        "cifar100": 0.05,
        "imagenet30": 0.01,
        "species60": 0.01,
    },
    "memory_bank.multiclass_coreset_ratio": {"mvtec": 0.05},
}
"""By data set; the second is that of ``multiclass``."""

_BLOCKS = {
    "layers": [2, 3, 4, 5, 6, 7, 8, 9],
    "attention_layer": 9,
    "norm": False,
    "model_kwargs": {},
}

BACKBONES: dict[str, dict[str, Any]] = {
    "dino_vitb8": {"model": "vit_base_patch8_224.dino", "checkpoint": None, **_BLOCKS},
    "ibot_vitb16": {
        "model": "vit_base_patch16_224",
        "checkpoint": "data/01_raw/weights/ibot_vitb16_checkpoint_teacher.pth",
        **_BLOCKS,
    },
}
"""Sections of ``backbones`` as they ship; weights from elsewhere may be others."""


def follows_paper(parameters: Mapping[str, Any], task: str, swept: Collection[str] = ()) -> bool:
    """Whether a run's metrics may stand beside the paper's.

    Args:
        parameters: All parameters of the run, resolved.
        task: Pipeline that ran, such as ``defect``, or that the paper's numbers are of.
        swept: Dotted keys that a table varies: its rows are compared with the paper's rows.

    Returns:
        Whether everything that changes the metrics is as in the paper, but for what is swept.
    """
    dataset, backbone = parameters["dataset"], parameters["backbone"]
    if dataset not in DATASETS or backbone not in BACKBONES:
        return False
    ratio = f"memory_bank.{'multiclass_' if task == 'multiclass' else ''}coreset_ratio"
    wanted = METHOD | {ratio: CORESET_RATIOS[ratio].get(dataset)}
    if task == "clustering":
        wanted["clustering.features"] = "top_k"
    return (
        all(_at(parameters, key) == value for key, value in wanted.items() if key not in swept)
        and _holds(parameters["datasets"][dataset], DATASETS[dataset])
        and _holds(parameters["backbones"][backbone], BACKBONES[backbone])
    )


def _at(parameters: Mapping[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return parameters[section][name]


def _holds(section: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a section has the values wanted; it may have others besides."""
    return all(
        _holds(section[name], value)
        if isinstance(value, Mapping) and value
        else section[name] == value
        for name, value in wanted.items()
    )
