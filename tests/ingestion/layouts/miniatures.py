"""Miniatures of the published data sets: their folders, file names and formats, few tiny images.

A builder per data set draws below ``root`` and returns the data set's own folder; :func:`pack`
makes an archive of it, as it is published::

    folder = make_mvtec(tmp_path, categories=("bottle",))
    pack(folder, tmp_path / "mvtec_anomaly_detection.tar.xz")

Normal images are noise around the colour of their class; a defect is a dark spot.
"""

from __future__ import annotations

import pickle
import shutil
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.cifar import CIFAR10, CIFAR100
from uniformaly_pipeline.ingestion.manifest import ImageRecord

Size = tuple[int, int]
"""Width and height in pixels."""

SIZE = (32, 32)

MVTEC_DEFECTS = {
    "bottle": "broken_large broken_small contamination",
    "cable": "bent_wire cable_swap combined cut_inner_insulation cut_outer_insulation "
    "missing_cable missing_wire poke_insulation",
    "capsule": "crack faulty_imprint poke scratch squeeze",
    "carpet": "color cut hole metal_contamination thread",
    "grid": "bent broken glue metal_contamination thread",
    "hazelnut": "crack cut hole print",
    "leather": "color cut fold glue poke",
    "metal_nut": "bent color flip scratch",
    "pill": "color combined contamination crack faulty_imprint pill_type scratch",
    "screw": "manipulated_front scratch_head scratch_neck thread_side thread_top",
    "tile": "crack glue_strip gray_stroke oil rough",
    "toothbrush": "defective",
    "transistor": "bent_lead cut_lead damaged_case misplaced",
    "wood": "color combined hole liquid scratch",
    "zipper": "broken_teeth combined fabric_border fabric_interior rough split_teeth "
    "squeezed_teeth",
}
MVTEC_GREY = ("grid", "screw", "zipper")
"""Categories whose images have one channel."""

BTAD_SUFFIXES = {"01": (".bmp", ".png"), "02": (".png", ".png"), "03": (".bmp", ".bmp")}
"""Suffix of each product's images and of its masks."""

MTD_DEFECTS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")

WORDNET_IDS = {"acorn": "n12267677", "grand_piano": "n03452741", "volcano": "n09472597"}

SPECIES = ("acris_gryllus", "octopus_tetricus", "umbra_limi")


# --- the data sets --------------------------------------------------------------------------------


def make_mvtec(
    root: Path,
    categories: Sequence[str] = ("bottle", "carpet"),
    *,
    train: int = 3,
    good: int = 2,
    defective: int = 1,
    size: Size = SIZE,
) -> Path:
    """MVTec AD; ``defective`` images of each kind of defect."""
    folder = root / "mvtec_anomaly_detection"
    for category in categories:
        mode = "L" if category in MVTEC_GREY else "RGB"
        counts = {"train/good": train, "test/good": good}
        counts |= {f"test/{kind}": defective for kind in MVTEC_DEFECTS[category].split()}
        for place, count in counts.items():
            spot = not place.endswith("/good")
            for i in range(count):
                image = folder / category / place / f"{i:03d}.png"
                _draw(image, category, size, mode, spot)
                if spot:
                    kind = place.removeprefix("test/")
                    _mask(folder / category / "ground_truth" / kind / f"{i:03d}_mask.png", size)
        for text in ("license.txt", "readme.txt"):
            (folder / category / text).write_text("MVTec AD\n")
    return folder


def make_btad(
    root: Path,
    products: Sequence[str] = ("01", "02", "03"),
    *,
    train: int = 3,
    good: int = 2,
    defective: int = 2,
    size: Size = SIZE,
) -> Path:
    """BTAD in its archive's inner folder; product 03 is wider than high."""
    folder = root / "BTech_Dataset_transformed"
    for product in products:
        image_suffix, mask_suffix = BTAD_SUFFIXES[product]
        shape = (size[0] * 4 // 3, size[1]) if product == "03" else size
        for place, count in {"train/ok": train, "test/ok": good, "test/ko": defective}.items():
            for i in range(count):
                image = folder / product / place / f"{i:04d}{image_suffix}"
                _draw(image, product, shape, spot=place == "test/ko")
                if place == "test/ko":
                    _mask(folder / product / f"ground_truth/ko/{i:04d}{mask_suffix}", shape)
    return folder


def make_mtd(root: Path, *, free: int = 10, defective: int = 2, size: Size = SIZE) -> Path:
    """MTD in its archive's inner folder; every image has a mask and a size of its own."""
    folder = root / "Magnetic-tile-defect-datasets.-master"
    number = 108719
    for kind, count in {"Free": free, **dict.fromkeys(MTD_DEFECTS, defective)}.items():
        for i in range(count):
            number += 17
            stem = folder / f"MT_{kind}/Imgs/exp{1 + i % 6}_num_{number}"
            shape = (size[0] + i % 3, size[1] + i % 5)
            _draw(stem.with_suffix(".jpg"), "tile", shape, "L", spot=kind != "Free")
            _mask(stem.with_suffix(".png"), shape, spot=kind != "Free")
    (folder / "README.md").write_text("# Magnetic-tile-defect-datasets.\n")
    return folder


def make_cpd(
    root: Path, *, train: int = 3, good: int = 2, defective: int = 2, size: Size = SIZE
) -> Path:
    """CPD; its train split has defective images as well."""
    folder = root / "casting_data"
    counts = {
        "train/ok_front": train,
        "train/def_front": defective,
        "test/ok_front": good,
        "test/def_front": defective,
    }
    for place, count in counts.items():
        kind = "ok" if place.endswith("ok_front") else "def"
        for i in range(count):
            number = i if place.startswith("train") else 1000 + i
            image = folder / place / f"cast_{kind}_0_{number}.jpeg"
            _draw(image, "casting", size, spot=kind == "def")
    return folder


def make_imagenet30(
    root: Path,
    classes: Sequence[str] = tuple(WORDNET_IDS),
    *,
    train: int = 3,
    test: int = 2,
    size: Size = SIZE,
) -> Path:
    """ImageNet-30; the first image of a class is grey, as some of ImageNet are."""
    folder = root / "imagenet30"
    for name in classes:
        wnid = WORDNET_IDS.get(name, f"n{zlib.crc32(name.encode()) % 10**8:08d}")
        for part, count in {"one_class_train": train, "one_class_test": test}.items():
            for i in range(count):
                number = 10001 + 13 * i + (part == "one_class_test")
                image = folder / part / name / wnid / f"{wnid}_{number}.JPEG"
                _draw(image, name, size, "L" if i == 0 else "RGB")
    return folder


def make_species60(
    root: Path, species: Sequence[str] = SPECIES, *, images: int = 10, size: Size = SIZE
) -> Path:
    """The source of Species-60: a folder per species, photographs of any shape."""
    folder = root / "species"
    for name in species:
        for i in range(images):
            image = folder / name / f"{1000003 * (i + 1) % 99999989}.jpg"
            _draw(image, name, (size[0] + i % 4, size[1]))
    return folder


# --- what tests do with them ----------------------------------------------------------------------


def make_cifar(root: Path, name: str, per_batch: int = 1) -> Path:
    """The extracted archive of ``cifar10`` or ``cifar100``: every class in every batch."""
    packing = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name].packing
    folder = root / packing.folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for batch in packing.train + packing.test:
        labels = list(range(len(packing.classes))) * per_batch
        content = {
            "data": rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8),
            packing.labels: labels,
        }
        (folder / batch).write_bytes(pickle.dumps(content, protocol=2))
    meta = {packing.names: list(packing.classes)}
    (folder / packing.meta).write_bytes(pickle.dumps(meta, protocol=2))
    return folder


def pack(folder: Path, archive: Path, top: str | None = None) -> Path:
    """Pack a data set; the suffix of ``archive`` tells how: .tar, .tar.xz, .tar.gz or .zip.

    Args:
        folder: What to pack.
        archive: The file to write.
        top: ``""`` for an archive without an outer folder, ``None`` for what is usual: only
            MVTec AD's, the .tar.xz, has none.
    """
    kind = {".tar": "tar", ".xz": "xztar", ".gz": "gztar", ".zip": "zip"}[archive.suffix]
    if top is None and kind != "xztar":
        top = folder.name
    inside = (folder.parent, folder.name) if top else (folder, ".")
    made = shutil.make_archive(str(archive.with_name(f"{archive.name}.new")), kind, *inside)
    return Path(made).replace(archive)


def levels(folder: Path, child: str) -> list[ImageFolder]:
    """The data set's own folder, the one above and ``child`` in it: what a user may name."""
    return [ImageFolder(str(path)) for path in (folder, folder.parent, folder / child)]


Row = tuple[str, str, int, str, str, str | None]


def rows(records: Iterable[ImageRecord]) -> list[Row]:
    """Image, split, label, class, defect and mask of each record."""
    return [(r.image, r.split, r.label, r.class_name, r.defect, r.mask) for r in records]


# --- pictures -------------------------------------------------------------------------------------


def _draw(file: Path, name: str, size: Size, mode: str = "RGB", spot: bool = False) -> None:
    """Draw an image that depends on its path's end and on the name of its class alone."""
    colour = np.random.default_rng(zlib.crc32(name.encode())).integers(90, 200, 3)
    rng = np.random.default_rng(zlib.crc32("/".join(file.parts[-4:]).encode()))
    pixels = np.clip(colour + rng.normal(0, 12, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
    if spot:
        pixels[_spot(size)] = (20, 10, 10)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(file)


def _mask(file: Path, size: Size, spot: bool = True) -> None:
    pixels = np.zeros(size[::-1], np.uint8)
    if spot:
        pixels[_spot(size)] = 255
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def _spot(size: Size) -> tuple[slice, slice]:
    width, height = size
    return slice(height // 3, height // 2), slice(width // 3, width // 2)
