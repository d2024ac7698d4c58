"""The data set's doctor: what in a manifest would spoil a result, and what one should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.ingestion.layouts.interface import Counts

FEW_NORMAL = 10
"""Train images below which a memory bank hardly knows what is normal."""
FEW_HELD_OUT = 5
IMBALANCE = 10.0
"""Ratio of the largest to the smallest class from which metrics are not comparable."""

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
    """The same picture both normal and anomalous in one class."""
    keys = ["class", "content_hash"]
    both = manifest.groupby(keys)["label"].transform("nunique") > 1
    return [
        ("error", name, "contradiction", f"{_join(images)} are the same picture, called normal "
         "and anomalous")
        for (name, _), images in _groups(manifest[both], keys)
    ]  # fmt: skip


def _leaks(manifest: pd.DataFrame) -> list[Finding]:
    """The same picture learned from and tested, whichever the label."""
    keys = ["class", "content_hash"]
    in_both = manifest.groupby(keys)["split"].transform("nunique") > 1
    consistent = manifest.groupby(keys)["label"].transform("nunique") == 1
    return [
        ("error", name, "leak", f"{_join(images)} are the same picture, in train and in test")
        for (name, _), images in _groups(manifest[in_both & consistent], keys)
    ]


def _repeats(manifest: pd.DataFrame) -> list[Finding]:
    """The same picture several times in one split."""
    keys = ["class", "split", "content_hash"]
    repeated = manifest[manifest.duplicated([*keys, "label"])]
    numbers = repeated.groupby(["class", "split"], sort=True).size()
    return [
        ("warning", name, "repeats", f"{number} images of {name}'s {split} split repeat others")
        for (name, split), number in numbers.items()
    ]


def _masks(manifest: pd.DataFrame) -> list[Finding]:
    findings = []
    empty = manifest[(manifest["label"] == 1) & (manifest["mask_pixels"] == 0)]
    for name, images in empty.groupby("class", sort=True)["image"]:
        text = f"the masks of {_join(list(images))} mark nothing"
        findings.append(("warning", name, "empty masks", text))
    marked = manifest[(manifest["label"] == 0) & (manifest["mask_pixels"] > 0)]
    for name, images in marked.groupby("class", sort=True)["image"]:
        text = f"{_join(list(images))} are called normal but their masks mark pixels"
        findings.append(("error", name, "masks of normal images", text))
    return findings


def _sizes(manifest: pd.DataFrame) -> list[Finding]:
    findings: list[Finding] = []
    numbers = _numbers(manifest)
    train = {name: number for (name, split, _), number in numbers.items() if split == "train"}
    for name in sorted(set(manifest["class"])):
        if train.get(name, 0) < FEW_NORMAL:
            text = f"{name} has {train.get(name, 0)} train images, which is few to learn from"
            findings.append(("warning", name, "few images", text))
        good = numbers.get((name, "test", False), 0)
        if good < FEW_HELD_OUT:
            text = f"{name} has {good} normal test images: its metrics are uncertain"
            findings.append(("warning", name, "few images", text))
    if train and max(train.values()) > IMBALANCE * min(train.values()):
        small, large = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
        text = f"{large} has {train[large]} train images and {small} only {train[small]}"
        findings.append(("warning", "", "imbalance", text))
    return findings


def _differences(manifest: pd.DataFrame, published: Mapping[str, Counts]) -> list[Finding]:
    found, findings = _numbers(manifest), []
    for (name, split, anomalous), number in _expected(manifest, published).items():
        here = found.get((name, split, anomalous), 0)
        if here != number:
            kind = "anomalous" if anomalous else "normal"
            text = f"{name} has {here} {kind} {split} images where {number} were published"
            findings.append(("warning", name, "published numbers", text))
    return findings


def _groups(rows: pd.DataFrame, keys: list[str]) -> list[tuple[tuple[str, str], list[str]]]:
    return [(key, list(group)) for key, group in rows.groupby(keys, sort=True)["image"]]


def _join(images: Sequence[str], most: int = 3) -> str:
    """A few paths as words, and how many more there are."""
    if len(images) > most:
        return f"{', '.join(images[:most])} and {len(images) - most} more"
    return " and ".join(images)
