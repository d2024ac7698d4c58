"""The user's own folders, as people have them.

A category is a folder below the root, in one of two shapes:

- ``train`` (with ``good`` in it, or images) and ``test`` (with a folder a kind), as MVTec AD's;
- ``good`` and a folder for each kind of defect, without a split.

Where no normal images are set apart for a test, a seeded share of them is held out. Names count
whatever their capitals. A picture ``roi.png`` right in the folder tells which part of all images
of the category counts (:mod:`.regions`). Images lie as deep as one likes below such a folder. What
is left out is told by :func:`notes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.ingestion.images import ImageFolder, is_image_name
from uniformaly_pipeline.ingestion.layouts.classes import hold_out
from uniformaly_pipeline.ingestion.layouts.folder_names import (
    MASKS,
    NORMAL,
    TEST,
    TRAIN,
    is_normal,
    kind_of,
    word,
)
from uniformaly_pipeline.ingestion.layouts.interface import LOOSE, Note, Split, left_out
from uniformaly_pipeline.ingestion.layouts.mask_files import MaskFinder, Match, masks_beside
from uniformaly_pipeline.ingestion.layouts.train_test import require_root
from uniformaly_pipeline.ingestion.manifest import GOOD, ImageRecord
from uniformaly_pipeline.ingestion.region_files import find_roi
from uniformaly_pipeline.ingestion.regions import is_plain_image

HAS_DEFECTS = True
EXPECTED = "<category>/train/good, or <category>/good"

MOST_NAMED = 3


def classes(root: ImageFolder) -> list[str]:
    """Folders below ``root`` that hold a category, sorted; empty ones too.

    An empty folder is listed so that it is reported rather than silently left out.

    Raises:
        InputError: There is no such root.
    """
    require_root(root)
    return [name for name in root.folders() if is_category(root, name)]


def is_category(root: ImageFolder, name: str) -> bool:
    """Whether a folder has one of the shapes of a category, or is empty."""
    inside = root.folders(name)
    if is_part(name):
        # The root is a category itself, unless parts lie below what is called like one.
        return any(word(folder) in TRAIN | TEST for folder in inside)
    if not inside:
        return not root.files(name)
    return any(word(folder) in TRAIN | TEST | NORMAL for folder in inside)


def is_part(name: str) -> bool:
    """Whether a folder is called like a part of a category."""
    return word(name) in TRAIN | TEST | NORMAL


def read(root: ImageFolder, classes: list[str], split: Split) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A class without images to learn from, or with nothing at all; all are named.
    """
    surveys = [_survey(root, name, split) for name in classes]
    problems = [problem for survey in surveys for problem in survey.problems]
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return [record for survey in surveys for record in survey.records]


def notes(root: ImageFolder, classes: list[str], split: Split) -> list[Note]:
    """What is left out of the data set, or read in a way that one should know of."""
    found = [note for name in classes for note in _survey(root, name, split).notes]
    others = [name for name in root.folders() if not is_category(root, name)]
    parts = [name for name in others if is_part(name)]
    others = [name for name in others if name not in parts]
    if parts:
        text = (
            f"{_named(parts)}: no category, for that is what a part of one is called: rename it, "
            "or put train and test into it"
        )
        found.append(Note("", "left out", text))
    if others:
        pictures = sum(len(_pictures(root.files_below(name))) for name in others)
        holds = f" ({number_of(pictures, 'picture')} in all)" if pictures else ""
        text = (
            f"{_named(others)}: no category, for there is no train, test or good folder in it"
            f"{holds}"
        )
        found.append(Note("", "left out", text))
    files = root.files()
    loose = _pictures(files)
    found += [Note("", LOOSE, path) for path in loose]
    return found + left_out("", [path for path in files if path not in loose])


def explain(root: ImageFolder) -> str:
    """Why a root without categories may have none; empty if nobody knows."""
    if is_category(root, "") and root.folders():
        return "it looks like a category itself: set the root to the folder above it"
    holding = [(name, _pictures(root.files(name))) for name in root.folders()]
    for name, pictures in [("", _pictures(root.files())), *holding]:
        if pictures:
            place = f"{name}/{GOOD}" if name else f"<category>/{GOOD}"
            where = f"right in {name}" if name else "right in it"
            return f"there are {_loose(pictures)} {where}: put normal ones into {place}"
    return ""


@dataclass
class _Survey:
    """What a category's folders hold."""

    name: str
    records: list[ImageRecord] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def note(self, check: str, text: str) -> None:
        self.notes.append(Note(self.name, check, text))


def _survey(root: ImageFolder, name: str, split: Split) -> _Survey:
    survey = _Survey(name)
    inside = {part: _folders(root, name, part) for part in (TRAIN, TEST, NORMAL, MASKS)}
    known = {folder for folders in inside.values() for folder in folders}
    rest = [path for path in _below(root, name) if path not in known]
    roi = find_roi(root, name)
    files = [path for path in root.files(name) if path != roi]
    loose = _pictures(files)
    if inside[TRAIN] or inside[TEST]:
        normal = _read_train(root, survey, inside[TRAIN])
        tested = _read_test(root, survey, inside[TEST])
        is_divided = any(tested.values())
        for folder in (*inside[NORMAL], *rest):
            _leave_out_folder(root, survey, folder, "it lies outside train and test")
    else:
        is_divided = False
        normal = _images(root, survey, inside[NORMAL])
        tested = {kind_of(folder): _images(root, survey, [folder]) for folder in rest}
    survey.notes += left_out(name, [path for path in files if path not in loose])
    for path in loose:
        survey.note(LOOSE, path)
    _divide(survey, normal, tested, None if is_divided else split)
    _assign_masks(root, survey, inside[MASKS], list(tested))
    survey.records = [replace(record, roi=roi) for record in survey.records]
    return survey


def _read_train(root: ImageFolder, survey: _Survey, folders: Sequence[str]) -> list[str]:
    """Paths of the normal images of ``train``: of its normal folders, and those right in it."""
    normal: list[str] = []
    for folder in folders:
        named = [path for path in _below(root, folder) if is_normal(path)]
        for other in _below(root, folder):
            if other not in named:
                _leave_out_folder(root, survey, other, "only normal images are learned from")
        loose = [path for path in root.files(folder) if is_plain_image(path)]
        survey.notes += left_out(survey.name, [p for p in root.files(folder) if p not in loose])
        normal += loose + _images(root, survey, named)
    return normal


def _read_test(root: ImageFolder, survey: _Survey, folders: Sequence[str]) -> dict[str, list[str]]:
    """Paths of the test images by kind, the normal ones as ``good``."""
    tested: dict[str, list[str]] = {}
    for folder in folders:
        for inside in _below(root, folder):
            tested.setdefault(kind_of(inside), []).extend(_images(root, survey, [inside]))
        loose = [path for path in root.files(folder) if is_plain_image(path)]
        if loose:
            survey.note("left out", f"{_named(loose)}: no folder tells whether they are {GOOD}")
        survey.notes += left_out(survey.name, [p for p in root.files(folder) if p not in loose])
    return tested


def _divide(
    survey: _Survey, normal: list[str], tested: dict[str, list[str]], split: Split | None
) -> None:
    """Images to learn from and to test; a share of the normal ones is held out by the split."""
    name = survey.name
    anomalous = {kind: paths for kind, paths in tested.items() if kind != GOOD and paths}
    good = tested.get(GOOD, [])
    if not normal and not good and not anomalous:
        survey.problems.append(
            f"category '{name}' is empty: put images into {name}/train/{GOOD} and {name}/test, or "
            f"into {name}/{GOOD} and a folder for each kind of defect"
        )
    elif not normal:
        survey.problems.append(
            f"category '{name}' has no images in {name}/train/{GOOD} or {name}/{GOOD}"
        )
    if normal and split is not None:
        train, good = hold_out(normal, split)
        normal, good = (train, good) if train else (good, [])
        survey.note(
            "held out",
            f"no normal images of {name} are set apart: {len(good)} of {len(normal) + len(good)} "
            f"are held out for the test (split.seed {split.seed}, split.test_share "
            f"{split.test_share:g})",
        )
    if normal and not anomalous:
        survey.note(
            "no anomalies",
            f"{name} has no anomalous test images: there are no metrics, but a memory bank to "
            "predict with",
        )
    survey.records += [ImageRecord(path, name, "train") for path in sorted(normal)]
    for kind, paths in sorted({**anomalous, GOOD: good}.items()):
        survey.records += [ImageRecord(path, name, "test", kind) for path in sorted(paths)]


# --- masks ----------------------------------------------------------------------------------------


def _assign_masks(
    root: ImageFolder, survey: _Survey, folders: Sequence[str], kinds: Sequence[str]
) -> None:
    """Give test images their masks; those that belong to no image are noted."""
    beside = masks_beside(survey.records)
    finder = MaskFinder(beside.images)
    matches: list[Match] = []
    for folder in folders:
        files = root.files_below(folder)
        survey.notes += left_out(survey.name, [path for path in files if not is_image_name(path)])
        matches += [finder.find(path, folder, kinds) for path in filter(is_image_name, files)]
    found = dict(beside.masks)
    strangers = list(beside.strangers)
    for match in sorted(matches, key=lambda each: not each.is_exact):
        if match.image is None or found.setdefault(match.image, match.mask) != match.mask:
            strangers.append(match.mask)
    if strangers:
        survey.note(
            "masks without images",
            f"{number_of(len(strangers), 'mask')} {'matches' if len(strangers) == 1 else 'match'} "
            f"no test image, or one that has another mask "
            f"already, such as {_named(sorted(strangers))}: a mask has its image's name, or that "
            "and _mask",
        )
    survey.records = [replace(r, mask=found.get(r.image)) for r in beside.images]


# --- folders ------------------------------------------------------------------------------------


def _below(root: ImageFolder, folder: str) -> list[str]:
    """Paths of the folders right below one."""
    return [f"{folder}/{name}" if folder else name for name in root.folders(folder)]


def _folders(root: ImageFolder, folder: str, names: frozenset[str]) -> list[str]:
    return [path for path in _below(root, folder) if word(path) in names]


def _images(root: ImageFolder, survey: _Survey, folders: Iterable[str]) -> list[str]:
    """Paths of all images below some folders; other files are noted."""
    files = [path for folder in folders for path in root.files_below(folder)]
    images = [path for path in files if is_plain_image(path)]
    survey.notes += left_out(survey.name, [path for path in files if not is_plain_image(path)])
    return images


def _leave_out_folder(root: ImageFolder, survey: _Survey, folder: str, why: str) -> None:
    files = _pictures(root.files_below(folder))
    if files:
        survey.note("left out", f"{number_of(len(files), 'image')} of {folder}: {why}")


def _pictures(paths: Iterable[str]) -> list[str]:
    """Those of some files that are images, and no pictures of a region of interest."""
    return [path for path in paths if is_plain_image(path)]


def _loose(pictures: Sequence[str]) -> str:
    """How many pictures lie where none is looked for."""
    return f"{number_of(len(pictures), 'picture')} ({_named(pictures)})"


def _named(paths: Sequence[str]) -> str:
    """A few paths as words, and how many more there are."""
    more = len(paths) - MOST_NAMED
    return ", ".join(paths[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
