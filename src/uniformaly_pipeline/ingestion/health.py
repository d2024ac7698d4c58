"""The data set's doctor: what in a manifest would spoil a result, and what one should know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import pandas as pd

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.ingestion.decoding import in_words
from uniformaly_pipeline.ingestion.images import is_foreign_picture
from uniformaly_pipeline.ingestion.layouts.interface import LOOSE, Counts, Note
from uniformaly_pipeline.ingestion.regions import MISPLACED

FEW_NORMAL = 10
"""Train images below which a memory bank hardly knows what is normal."""
FEW_HELD_OUT = 5
IMBALANCE = 10.0
"""Ratio of the largest to the smallest class from which metrics are not comparable."""

MOST_MARKED = 0.5
"""Share of a picture that a mask hardly marks, unless normal and anomalous are exchanged."""

OTHER_FILES = "other files"
"""The check of files that are no images."""

UNREAD = "unread pictures"
"""The check of pictures in formats that are not read."""

COLUMNS = ("severity", "class", "check", "finding")


def count_images(
    manifest: pd.DataFrame, published: Mapping[str, Counts] | None = None
) -> pd.DataFrame:
    """Images by class, split and kind, beside the published numbers.

    Args:
        manifest: See :func:`.manifest.build_manifest`.
        published: Published numbers by class, where they are known.

    Returns:
        A row per class, split and defect kind: ``class``, ``split``, ``defect``, ``images``,
        ``masks``; and, where ``published`` is given, ``published`` (of all anomalous kinds of a
        class together, beside the first of them) and its ``difference``.
    """
    counts = (
        manifest.groupby(["class", "split", "defect"], sort=True)
        .agg(images=("image", "size"), masks=("mask", "count"))
        .reset_index()
        .sort_values(["class", "split"], ascending=[True, False], ignore_index=True)
    )
    if not published:
        return counts
    expected = _expected(manifest, published)
    first = ~counts.assign(a=counts["defect"] != "good").duplicated(["class", "split", "a"])
    keys = zip(counts["class"], counts["split"], counts["defect"] != "good", strict=True)
    numbers = [expected.get(key) for key in keys]
    found = _numbers(manifest)
    keys = zip(counts["class"], counts["split"], counts["defect"] != "good", strict=True)
    totals = [found.get(key, 0) for key in keys]
    counts["published"] = pd.Series(numbers, dtype="Int64").where(first)
    counts["difference"] = pd.Series(totals, dtype="Int64") - counts["published"]
    return counts


def _numbers(manifest: pd.DataFrame) -> dict[tuple[str, str, bool], int]:
    """Images by class, split and whether they are anomalous."""
    groups = manifest.groupby(["class", "split", manifest["label"] == 1]).size()
    return {key: int(number) for key, number in groups.items()}


def _expected(
    manifest: pd.DataFrame, published: Mapping[str, Counts]
) -> dict[tuple[str, str, bool], int]:
    present = set(manifest["class"])
    expected = {}
    for name, counts in published.items():
        if name in present:
            expected[name, "train", False] = counts.train
            expected[name, "test", False] = counts.good
            expected[name, "test", True] = counts.anomalous
    return expected


def examine(manifest: pd.DataFrame, published: Mapping[str, Counts] | None = None) -> pd.DataFrame:
    """Everything a user should know about a data set before trusting a metric.

    Args:
        manifest: See :func:`.manifest.build_manifest`.
        published: Published numbers by class, where they are known.

    Returns:
        A row per finding, errors first: ``severity`` (``error`` would spoil a result, ``warning``
        may), ``class`` (empty for all), ``check`` and ``finding``.
    """
    findings = [
        *_contradictions(manifest),
        *_leaks(manifest),
        *_repeats(manifest),
        *_masks(manifest),
        *odd_images(manifest),
        *_odd_masks(manifest),
        *_depths(manifest),
        *_sizes(manifest),
        *_differences(manifest, published or {}),
    ]
    table = pd.DataFrame(findings, columns=list(COLUMNS))
    return table.sort_values("severity", kind="stable", ignore_index=True)


def refuse_spoiled(manifest: pd.DataFrame, root: str) -> None:
    """Refuse a data set of the user's own that would give false metrics.

    Raises:
        InputError: One line that lists every error of :func:`examine`.
    """
    findings = examine(manifest)
    errors = findings.loc[findings["severity"] == "error", "finding"].tolist()
    if errors:
        raise InputError(f"{root}: {list_problems(errors)}")


Finding = tuple[str, str, str, str]


def _contradictions(manifest: pd.DataFrame) -> list[Finding]:
    """The same picture both normal and anomalous in one class, in whichever file formats."""
    keys = ["class", "pixel_hash"]
    both = manifest.groupby(keys)["label"].transform("nunique") > 1
    return [
        ("error", name, "contradiction", f"{_join(images)} are the same picture, called normal "
         "and anomalous")
        for (name, _), images in _groups(manifest[both], keys)
    ]  # fmt: skip


def _leaks(manifest: pd.DataFrame) -> list[Finding]:
    """The same picture learned from and tested, whichever the label."""
    keys = ["class", "pixel_hash"]
    in_both = manifest.groupby(keys)["split"].transform("nunique") > 1
    consistent = manifest.groupby(keys)["label"].transform("nunique") == 1
    return [
        ("error", name, "leak", f"{_join(images)} are the same picture, in train and in test")
        for (name, _), images in _groups(manifest[in_both & consistent], keys)
    ]


def _repeats(manifest: pd.DataFrame) -> list[Finding]:
    """The same picture several times in one split."""
    keys = ["class", "split", "pixel_hash"]
    repeated = manifest[manifest.duplicated([*keys, "label"])]
    numbers = repeated.groupby(["class", "split"], sort=True).size()
    return [
        ("warning", name, "repeats",
         f"{number_of(number, 'image')} of {name}'s {split} split {_verb(number, 'repeat')} others")
        for (name, split), number in numbers.items()
    ]  # fmt: skip


def _masks(manifest: pd.DataFrame) -> list[Finding]:
    findings = []
    empty = manifest[(manifest["label"] == 1) & (manifest["mask_pixels"] == 0)]
    for name, images in empty.groupby("class", sort=True)["image"]:
        text = f"the masks of {_join(list(images))} mark nothing"
        findings.append(("warning", name, "empty masks", text))
    marked = manifest[(manifest["label"] == 0) & (manifest["mask_pixels"] > 0)]
    for name, images in marked.groupby("class", sort=True)["image"]:
        paths = list(images)
        whose = (
            "is called normal but its mask marks"
            if len(paths) == 1
            else ("are called normal but their masks mark")
        )
        text = f"{_join(paths)} {whose} pixels"
        findings.append(("error", name, "masks of normal images", text))
    if "mask_values" not in manifest:
        return findings
    large = manifest[manifest["mask_pixels"] > MOST_MARKED * manifest["width"] * manifest["height"]]
    for name, images in large.groupby("class", sort=True)["image"]:
        text = (
            f"the masks of {_join(list(images))} mark more than half of the picture: what is not "
            "0 counts as anomalous"
        )
        findings.append(("warning", name, "large masks", text))
    soft = manifest[manifest["mask_values"].str.contains("soft", na=False)]
    for name, images in soft.groupby("class", sort=True)["image"]:
        text = (
            f"the masks of {_join(list(images))} have soft edges: what exceeds half of the "
            "brightest value counts as anomalous"
        )
        findings.append(("warning", name, "soft masks", text))
    findings += _unmasked(manifest)
    return findings


def _unmasked(manifest: pd.DataFrame) -> list[Finding]:
    """Anomalous images without a mask where others of their class have one."""
    anomalous = manifest[manifest["label"] == 1]
    findings = []
    for name, rows in anomalous.groupby("class", sort=True):
        bare = rows[rows["mask"].isna()]
        if 0 < len(bare) < len(rows):
            text = (
                f"{_join(list(bare['image']))} {'has' if len(bare) == 1 else 'have'} no mask, "
                f"{number_of(len(rows) - len(bare), 'other anomalous image')} of {name} "
                f"{'has' if len(rows) - len(bare) == 1 else 'have'} one: pixel metrics are of those"
            )
            findings.append(("warning", str(name), "missing masks", text))
    return findings


def told_findings(notes: Sequence[Note]) -> pd.DataFrame:
    """What a layout leaves out as findings; files that are no images are told in one line."""
    findings = [
        ("warning", note.class_name, note.check, note.text)
        for note in notes
        if note.check not in (OTHER_FILES, MISPLACED, LOOSE)
    ]
    findings += _loose_pictures([note for note in notes if note.check == LOOSE])
    findings += [
        ("warning", note.class_name, MISPLACED,
         f"{note.text} is left out: a region of interest lies right in its category's folder, or "
         "is named by roi")
        for note in notes
        if note.check == MISPLACED
    ]  # fmt: skip
    others = [note.text for note in notes if note.check == OTHER_FILES]
    foreign = [path for path in others if is_foreign_picture(path)]
    if foreign:
        kinds = sorted({PurePosixPath(path).suffix.lower() for path in foreign})
        text = (
            f"{number_of(len(foreign), 'picture')} in a format that is not read "
            f"({', '.join(kinds)}) left out: {_join(foreign)}. Convert them, to PNG for instance"
        )
        findings.append(("warning", "", UNREAD, text))
    files = [path for path in others if path not in foreign]
    if files:
        what = "file that is no image is" if len(files) == 1 else "files that are no images are"
        text = f"{len(files)} {what} left out: {_join(files)}"
        findings.append(("warning", "", OTHER_FILES, text))
    return pd.DataFrame(findings, columns=list(COLUMNS))


def _loose_pictures(notes: Sequence[Note]) -> list[Finding]:
    """How many pictures lie right in each category and in the root, and where they belong."""
    by_class: dict[str, list[str]] = {}
    for note in notes:
        by_class.setdefault(note.class_name, []).append(note.text)
    findings = []
    for name, paths in by_class.items():
        place = f"{name}/good or {name}/train/good" if name else "<category>/good"
        text = (
            f"{number_of(len(paths), 'picture')} right in {name or 'the root'} left out: "
            f"{_join(paths)}. Normal ones belong into {place}, others into a folder of their kind "
            "of defect"
        )
        findings.append(("warning", name, LOOSE, text))
    return findings


def list_masks(manifest: pd.DataFrame) -> pd.DataFrame:
    """What was found in the masks, so that one can see whether it was understood.

    Returns:
        A row per class, kind and content: ``class``, ``defect``, ``values`` (what the files hold),
        ``masks`` and ``marked``, the median share of a picture that they mark.
    """
    masks = manifest[manifest["mask"].notna()]
    share = masks["mask_pixels"] / (masks["width"] * masks["height"])
    table = masks.assign(marked=share, values=masks["mask_values"])
    grouped = table.groupby(["class", "defect", "values"], sort=True)
    return grouped.agg(masks=("image", "size"), marked=("marked", "median")).reset_index()


def odd_images(manifest: pd.DataFrame) -> list[Finding]:
    """Images that are read in a way that one should know of, see :data:`.decoding.REMARKS`."""
    return [
        ("warning", name, remark, f"{_join(paths)} {in_words(remark, len(paths))}")
        for name, remark, paths in _remarked(manifest, "image", "remarks")
    ]


def _odd_masks(manifest: pd.DataFrame) -> list[Finding]:
    """As :func:`odd_images`, of masks."""
    return [
        ("warning", name, "odd masks",
         f"the {'mask' if len(paths) == 1 else 'masks'} {_join(paths)} "
         f"{in_words(remark, len(paths))}")
        for name, remark, paths in _remarked(manifest, "mask", "mask_remarks")
    ]  # fmt: skip


def _remarked(
    manifest: pd.DataFrame, what: str, remarks: str
) -> Iterator[tuple[str, str, list[str]]]:
    """Class, remark and the paths of what it is about."""
    if remarks not in manifest:
        return
    odd = manifest[manifest[remarks].fillna("") != ""]
    rows = odd.assign(remark=odd[remarks].str.split(";")).explode("remark")
    for (name, remark), paths in rows.groupby(["class", "remark"], sort=True)[what]:
        yield str(name), str(remark), list(dict.fromkeys(paths))


def _depths(manifest: pd.DataFrame) -> list[Finding]:
    """Classes whose normal images have another depth than images that are tested."""
    if "depth" not in manifest:
        return []
    findings = []
    for name, rows in manifest.groupby("class", sort=True):
        learned = set(rows.loc[rows["split"] == "train", "depth"])
        other = rows[(rows["split"] == "test") & ~rows["depth"].isin(learned)]
        if learned and len(other):
            depths, images = " and ".join(sorted(learned)), list(other["image"])
            text = (
                f"{_join(images)} {'is' if len(images) == 1 else 'are'} "
                f"{' and '.join(sorted(set(other['depth'])))} where {name}'s train images are "
                f"{depths}: their levels may not compare"
            )
            findings.append(("warning", str(name), "depth", text))
    return findings


def _sizes(manifest: pd.DataFrame) -> list[Finding]:
    findings: list[Finding] = []
    numbers = _numbers(manifest)
    train = {name: number for (name, split, _), number in numbers.items() if split == "train"}
    for name in sorted(set(manifest["class"])):
        if train.get(name, 0) < FEW_NORMAL:
            number = number_of(train.get(name, 0), "train image")
            text = f"{name} has {number}, which is few to learn from"
            findings.append(("warning", name, "few images", text))
        good = numbers.get((name, "test", False), 0)
        if good < FEW_HELD_OUT:
            text = f"{name} has {number_of(good, 'normal test image')}: its metrics are uncertain"
            findings.append(("warning", name, "few images", text))
    if train and max(train.values()) > IMBALANCE * min(train.values()):
        small, large = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
        number = number_of(train[large], "train image")
        text = f"{large} has {number} and {small} only {train[small]}"
        findings.append(("warning", "", "imbalance", text))
    return findings


def _differences(manifest: pd.DataFrame, published: Mapping[str, Counts]) -> list[Finding]:
    found, findings = _numbers(manifest), []
    for (name, split, anomalous), number in _expected(manifest, published).items():
        here = found.get((name, split, anomalous), 0)
        if here != number:
            kind = "anomalous" if anomalous else "normal"
            text = (
                f"{name} has {number_of(here, f'{kind} {split} image')} where {number:,} were "
                "published"
            )
            findings.append(("warning", name, "published numbers", text))
    return findings


def _verb(number: int, plural: str) -> str:
    """A verb as its plural, or as of one."""
    return f"{plural}s" if number == 1 else plural


def _groups(rows: pd.DataFrame, keys: list[str]) -> list[tuple[tuple[str, str], list[str]]]:
    return [(key, list(group)) for key, group in rows.groupby(keys, sort=True)["image"]]


def _join(images: Sequence[str], most: int = 3) -> str:
    """A few paths as words, and how many more there are."""
    if len(images) > most:
        return f"{', '.join(images[:most])} and {len(images) - most} more"
    return " and ".join(images)
