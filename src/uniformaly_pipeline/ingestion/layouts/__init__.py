"""Data sets as they are distributed: a module per layout, all behind one small interface."""

from __future__ import annotations

from uniformaly_pipeline.ingestion.layouts import (
    classes,
    cpd,
    demo,
    folder,
    imagenet30,
    kolektor_sdd2,
    mtd,
    real_iad,
    species60,
    visa,
)
from uniformaly_pipeline.ingestion.layouts.btad import BTAD
from uniformaly_pipeline.ingestion.layouts.cifar import CIFAR10, CIFAR100
from uniformaly_pipeline.ingestion.layouts.interface import Layout
from uniformaly_pipeline.ingestion.layouts.mpdd import MPDD
from uniformaly_pipeline.ingestion.layouts.mvtec import MVTEC
from uniformaly_pipeline.ingestion.layouts.mvtec_ad2 import MVTEC_AD2
from uniformaly_pipeline.ingestion.layouts.mvtec_loco import MVTEC_LOCO

LAYOUTS: dict[str, Layout] = {
    "folder": folder,
    "classes": classes,
    "demo": demo,
    "mvtec": MVTEC,
    "btad": BTAD,
    "mtd": mtd,
    "cpd": cpd,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "imagenet30": imagenet30,
    "species60": species60,
    "visa": visa,
    "mvtec_ad2": MVTEC_AD2,
    "mvtec_loco": MVTEC_LOCO,
    "real_iad": real_iad,
    "mpdd": MPDD,
    "kolektor_sdd2": kolektor_sdd2,
}
"""Every layout by the name that ``datasets.<name>.layout`` gives it."""
