"""Species-60: 60 species of the Species data set; each is normal in turn.

Either the source, a folder of images per species that is then split here, or what
:func:`write_tree` makes of it: ``one_class_train/<species>`` and ``one_class_test/<species>``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import PurePosixPath

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.common.files import new_folder
from uniformaly_pipeline.common.remote_path import AnyPath, RemotePath
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.classes import (
    FOLDERS,
    HAS_DEFECTS,
    hold_out,
    known_classes,
    named_folders,
    read_known,
)
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import ImageRecord

__all__ = ["CLASSES", "EXPECTED", "HAS_DEFECTS", "classes", "read", "write_tree"]

EXPECTED = "one_class_train/<species> and one_class_test/<species>, or <species>"

CLASSES = (
    "abudefduf_vaigiensis",
    "acanthurus_coeruleus",
    "acarospora_socialis",
    "acris_gryllus",
    "adolphia_californica",
    "agaricus_augustus",
    "amanita_parcivolvata",
    "ameiurus_natalis",
    "anartia_jatrophae",
    "aplysia_californica",
    "arcyria_denudata",
    "arion_ater",
    "aulostomus_chinensis",
    "bjerkandera_adusta",
    "bombus_pensylvanicus",
    "callianax_biplicata",
    "calochortus_apiculatus",
    "campsis_radicans",
    "cepaea_nemoralis",
    "cladonia_chlorophaea",
    "cochlodina_laminata",
    "crepidotus_applanatus",
    "cypripedium_macranthos",
    "dendrobates_auratus",
    "diaulula_sandiegensis",
    "drosera_rotundifolia",
    "echinocereus_pectinatus_pectinatus",
    "eremnophila_aureonotata",
    "etheostoma_caeruleum",
    "fistularia_commersonii",
    "ganoderma_tsugae",
    "halysidota_tessellaris",
    "herichthys_cyanoguttatus",
    "hippocampus_whitei",
    "hygrocybe_miniata",
    "hypomyces_chrysospermus",
    "juniperus_turbinata",
    "kuehneromyces_mutabilis",
    "laetiporus_gilbertsonii",
    "lepisosteus_platyrhincus",
    "leucocoprinus_cepistipes",
    "lissachatina_fulica",
    "lycium_californicum",
    "megapallifera_mutabilis",
    "mononeuria_groenlandica",
    "neverita_lewisii",
    "octopus_tetricus",
    "orienthella_trilineata",
    "phyllotopsis_nidulans",
    "planorbarius_corneus",
    "protoparmeliopsis_muralis",
    "quercus_dumosa",
    "ruditapes_philippinarum",
    "salamandra_lanzai",
    "swietenia_macrophylla",
    "teloschistes_chrysophthalmus",
    "tramea_onusta",
    "umbra_limi",
    "vespula_squamosa",
    "zelus_renardii",
)
"""The species in alphabetical order, which is that of the paper's numbers."""


def classes(root: ImageFolder) -> list[str]:
    """Those of the 60 species that are there; other folders do not count."""
    return known_classes(root, CLASSES) or sorted(_source_folders(root))


def read(root: ImageFolder, classes: list[str], split: Split) -> list[ImageRecord]:
    """The images of ``classes``; ``split`` is for the source, which comes without one.

    Raises:
        InputError: A class without images to train or to test with, or with fewer images than
            ``split`` asks for; all are named.
    """
    if known_classes(root, CLASSES):
        return read_known(root, classes)
    folders = _source_folders(root)
    records: list[ImageRecord] = []
    problems: list[str] = []
    for name in classes:
        paths = [path for folder in folders.get(name, []) for path in root.files_below(folder)]
        train, test = hold_out(paths, split)
        if len(paths) < split.min_images:
            problems.append(f"class '{name}' has {len(paths)} of {split.min_images} images")
        elif not train or not test:
            problems.append(f"class '{name}' has too few images to split: {len(paths)}")
        records += [ImageRecord(path, name, "train") for path in train]
        records += [ImageRecord(path, name, "test") for path in test]
    if problems:
        raise InputError(
            f"{root.root}: {list_problems(problems)}: add images, or name the other classes in "
            "categories"
        )
    return records


def _source_folders(root: ImageFolder) -> dict[str, list[str]]:
    # Either half of a tree looks like the source, but is split already.
    if PurePosixPath(root.root.replace("\\", "/")).name in FOLDERS.values():
        return {}
    return named_folders(root, "", CLASSES)


def write_tree(root: ImageFolder, records: Iterable[ImageRecord], target: AnyPath) -> None:
    """Copy images into ``one_class_train/<class>`` and ``one_class_test/<class>``.

    On a local disk the tree appears in one step, and an interrupted run leaves nothing.

    Args:
        root: Where the images are.
        records: The images, as :func:`read` returns them.
        target: The new tree's folder.

    Raises:
        InputError: The folder holds something already, or two images would get the same path.
    """
    copies = _copies(records)
    if isinstance(target, RemotePath):
        if target.exists():
            raise InputError(f"{target} exists already: remove it or choose another folder")
        for image, copy in copies.items():
            (target / copy).write_bytes(root.read_bytes(image))
        return
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} exists already: remove it or choose another folder")
    with new_folder(target) as part:
        for image, copy in copies.items():
            (part / copy).parent.mkdir(parents=True, exist_ok=True)
            with root.open(image) as source, (part / copy).open("wb") as file:
                shutil.copyfileobj(source, file)
        if target.exists():
            target.rmdir()


def _copies(records: Iterable[ImageRecord]) -> dict[str, str]:
    """Where each image is copied to, below the new tree.

    Raises:
        InputError: Two images would get the same path.
    """
    copies: dict[str, str] = {}
    taken = set()
    for record in records:
        folder = f"{FOLDERS[record.split]}/{record.class_name}"
        copies[record.image] = copy = f"{folder}/{_path_in_class(record.image)}"
        taken.add(copy)
        if len(taken) < len(copies):
            raise InputError(
                f"{record.image} and another image of class '{record.class_name}' have the "
                "same name: rename one of them"
            )
    return copies


def _path_in_class(image: str) -> str:
    first, *rest = image.split("/")
    # Below the class's folder, which lies in a split's folder or right below the root.
    return "/".join(rest[1:] if first in FOLDERS.values() else rest)
