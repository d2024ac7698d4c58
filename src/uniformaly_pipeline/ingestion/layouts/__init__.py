"""Data sets as they are distributed: a module per layout, all behind one small interface."""

from __future__ import annotations

from uniformaly_pipeline.ingestion.layouts import (
    btad,
    classes,
    cpd,
    demo,
    folder,
    imagenet30,
    mtd,
    mvtec,
    species60,
)
from uniformaly_pipeline.ingestion.layouts.cifar import CIFAR10, CIFAR100
from uniformaly_pipeline.ingestion.layouts.interface import Layout

LAYOUTS: dict[str, Layout] = {
    "folder": folder,
    "classes": classes,
    "demo": demo,
    "mvtec": mvtec,
    "btad": btad,
    "mtd": mtd,
    "cpd": cpd,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "imagenet30": imagenet30,
    "species60": species60,
}
"""Every layout by the name that ``datasets.<name>.layout`` gives it."""
