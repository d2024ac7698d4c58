"""Miniatures of the published data sets: their folders, file names and formats, few tiny images.

A builder per data set draws below ``root`` and returns the data set's own folder; :func:`pack`
makes an archive of it, as it is published::

    folder = make_mvtec(tmp_path, categories=("bottle",))
    pack(folder, tmp_path / "mvtec_anomaly_detection.tar.xz")

Normal images are noise around the colour of their class; a defect is a dark spot.
"""

from __future__ import annotations

import json
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


def make_visa(
    root: Path,
    objects: Sequence[str] = ("candle", "pcb1"),
    *,
    train: int = 3,
    good: int = 2,
    defective: int = 2,
    size: Size = SIZE,
) -> Path:
    """VisA as published; its masks hold the numbers of the kinds of anomaly."""
    folder = root / "VisA_20220922"
    lines = ["object,split,label,image,mask"]
    for name in objects:
        annotations = ["image,label,mask"]
        for i in range(train + good):
            image = f"{name}/Data/Images/Normal/{i:04d}.JPG"
            _draw(folder / image, name, size)
            lines.append(f"{name},{'train' if i < train else 'test'},normal,{image},")
            annotations.append(f"{image},normal,")
        for i in range(defective):
            image = f"{name}/Data/Images/Anomaly/{i:03d}.JPG"
            mask = f"{name}/Data/Masks/Anomaly/{i:03d}.png"
            _draw(folder / image, name, size, spot=True)
            _mask(folder / mask, size, value=1 + i)
            lines.append(f"{name},test,anomaly,{image},{mask}")
            annotations.append(f'{image},"{"scratch,bent" if i else "bent"}",{mask}')
        (folder / name / "image_anno.csv").write_text("\n".join(annotations) + "\n")
    (folder / "split_csv").mkdir()
    (folder / "split_csv/1cls.csv").write_text("\n".join(lines) + "\n")
    return folder


def make_visa_prepared(root: Path) -> Path:
    """VisA as the publishers' script rearranges it."""
    folder = root / "1cls"
    for place, count in {"train/good": 3, "test/good": 2, "test/bad": 2}.items():
        for i in range(count):
            _draw(folder / f"candle/{place}/{i:04d}.JPG", "candle", SIZE, spot="bad" in place)
            if "bad" in place:
                _mask(folder / f"candle/ground_truth/bad/{i:04d}.png", SIZE)
    return folder


def make_mvtec_ad2(root: Path, categories: Sequence[str] = ("can", "vial")) -> Path:
    """MVTec AD 2 with validation and private test images."""
    folder = root / "mvtec_ad_2"
    counts = {
        "train/good": 3, "validation/good": 1, "test_public/good": 2, "test_public/bad": 2,
        "test_private": 1, "test_private_mixed": 1,
    }  # fmt: skip
    for category in categories:
        for place, count in counts.items():
            for i in range(count):
                stem = f"{i:03d}_regular"
                _draw(
                    folder / category / place / f"{stem}.png", category, SIZE, spot="bad" in place
                )
                if "bad" in place:
                    truth = folder / category / "test_public/ground_truth/bad"
                    _mask(truth / f"{stem}_mask.png", SIZE)
    return folder


def make_mvtec_loco(root: Path, categories: Sequence[str] = ("pushpins", "screw_bag")) -> Path:
    """MVTec LOCO AD; the second anomalous image of each kind has two masks."""
    folder = root / "mvtec_loco_anomaly_detection"
    counts = {
        "train/good": 3, "validation/good": 1, "test/good": 2, "test/logical_anomalies": 2,
        "test/structural_anomalies": 2,
    }  # fmt: skip
    for category in categories:
        for place, count in counts.items():
            spot = "anomalies" in place
            for i in range(count):
                _draw(folder / category / place / f"{i:03d}.png", category, SIZE, spot=spot)
                for part in range(i + 1 if spot else 0):
                    kind = place.removeprefix("test/")
                    truth = folder / category / "ground_truth" / kind / f"{i:03d}"
                    _mask(truth / f"{part:03d}.png", SIZE, value=255 - part, shift=8 * part)
        (folder / category / "defects_config.json").write_text("[]\n")
    return folder


def make_real_iad(root: Path, names: Sequence[str] = ("audiojack", "zipper")) -> Path:
    """Real-IAD in its smallest and its largest size, with splits."""
    folder = root / "real_iad"
    for name in names:
        listed: dict[str, list[dict[str, str | None]]] = {"train": [], "test": []}
        for number, kind in enumerate(("OK", "OK", "OK", "OK", "HS", "QS"), start=1):
            where = "OK" if kind == "OK" else f"NG/{kind}"
            image = f"{where}/S{number:04d}/{name}_{number:04d}_{kind}_C1.jpg"
            mask = image.replace(".jpg", ".png") if kind != "OK" else None
            for size in ("256", "1024"):
                place = folder / f"realiad_{size}" / name
                _draw(place / image, name, SIZE, spot=kind != "OK")
                if mask:
                    _mask(place / mask, SIZE)
            entry = {"category": name, "anomaly_class": kind, "image_path": image}
            listed["train" if number <= 2 else "test"].append({**entry, "mask_path": mask})
        splits = folder / f"realiad_jsons/realiad_jsons/{name}.json"
        splits.parent.mkdir(parents=True, exist_ok=True)
        meta = {"normal_class": "OK", "prefix": f"{name}/"}
        splits.write_text(json.dumps({"meta": meta, **listed}))
    return folder


def make_mpdd(root: Path) -> Path:
    """MPDD, two of its categories."""
    folder = root / "MPDD"
    for name, kind in {"connector": "parts_mismatch", "tubes": "anomalous"}.items():
        for place, count in {"train/good": 3, "test/good": 2, f"test/{kind}": 2}.items():
            for i in range(count):
                _draw(folder / name / place / f"{i:03d}.png", name, SIZE, spot=kind in place)
                if kind in place:
                    _mask(folder / name / f"ground_truth/{kind}/{i:03d}_mask.png", SIZE)
    return folder


def make_kolektor_sdd2(root: Path) -> Path:
    """KolektorSDD2; every third image is defective, also of those to learn from."""
    folder = root / "KolektorSDD2"
    for part, first in {"train": 10000, "test": 20000}.items():
        for number in range(first, first + 6):
            _draw(folder / part / f"{number}.png", "surface", SIZE, spot=number % 3 == 0)
            _mask(folder / part / f"{number}_GT.png", SIZE, spot=number % 3 == 0)
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


def _mask(file: Path, size: Size, spot: bool = True, value: int = 255, shift: int = 0) -> None:
    """Draw a mask; ``shift`` moves what it marks to the right."""
    pixels = np.zeros(size[::-1], np.uint8)
    if spot:
        rows, columns = _spot(size)
        pixels[rows, columns.start + shift : columns.stop + shift] = value
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def _spot(size: Size) -> tuple[slice, slice]:
    width, height = size
    return slice(height // 3, height // 2), slice(width // 3, width // 2)
