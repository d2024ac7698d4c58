"""The doctor finds what would spoil a result, and says what one should know."""

from __future__ import annotations

import pandas as pd
import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.health import count_images, examine, refuse_spoiled
from uniformaly_pipeline.ingestion.layouts.interface import Counts
from uniformaly_pipeline.ingestion.manifest import NO_MASK

Row = tuple[str, str, str, str, int]


def table(*rows: Row) -> pd.DataFrame:
    """A manifest of (class, split, defect, pixel hash, mask pixels)."""
    manifest = pd.DataFrame(rows, columns=["class", "split", "defect", "pixel_hash", "mask_pixels"])
    numbers = range(len(manifest))
    names = manifest[["class", "split", "defect"]].agg("/".join, axis=1)
    manifest["image"] = [
        f"{name}/{number}.png" for name, number in zip(names, numbers, strict=True)
    ]
    manifest["label"] = (manifest["defect"] != "good").astype("int8")
    manifest["mask"] = manifest["image"].where(manifest["mask_pixels"] != NO_MASK)
    return manifest


def healthy(name: str = "nut", train: int = 12, good: int = 6) -> list[Row]:
    """Rows of a class in which nothing is amiss."""
    return [
        *((name, "train", "good", f"{name}t{i}", NO_MASK) for i in range(train)),
        *((name, "test", "good", f"{name}g{i}", NO_MASK) for i in range(good)),
        *((name, "test", "dent", f"{name}d{i}", 9) for i in range(3)),
    ]


def findings(*rows: Row) -> list[tuple[str, str]]:
    """Severity and check of every finding."""
    found = examine(table(*rows))
    return list(zip(found["severity"], found["check"], strict=True))


def test_a_healthy_data_set_has_no_findings() -> None:
    assert findings(*healthy()) == []
    refuse_spoiled(table(*healthy()), "root")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("nut", "test", "good", "nutt3", NO_MASK), ("error", "leak")),
        (("nut", "test", "dent", "nutt3", 9), ("error", "contradiction")),
        (("nut", "test", "dent", "nutg3", 9), ("error", "contradiction")),
        (("nut", "test", "good", "new", 4), ("error", "masks of normal images")),
        (("nut", "test", "dent", "new", 0), ("warning", "empty masks")),
        (("nut", "train", "good", "nutt3", NO_MASK), ("warning", "repeats")),
        (("nut", "test", "good", "nutg3", NO_MASK), ("warning", "repeats")),
    ],
)
def test_one_thing_amiss(row: Row, expected: tuple[str, str]) -> None:
    assert findings(*healthy(), row) == [expected]
    manifest = table(*healthy(), row)
    if expected[0] == "warning":
        refuse_spoiled(manifest, "root")
        return
    with pytest.raises(InputError) as error:
        refuse_spoiled(manifest, "root")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("root: ")
    assert manifest["image"].iloc[-1] in str(error.value)


def test_the_same_picture_in_two_classes_is_no_contradiction() -> None:
    """A foreign class's normal image may well be anomalous: labels are per class."""
    rows = [*healthy("nut"), *healthy("bolt"), ("bolt", "test", "dent", "nutg1", 9)]
    assert findings(*rows) == []


def test_few_images_and_imbalance() -> None:
    assert findings(*healthy(train=9)) == [("warning", "few images")]
    assert findings(*healthy(good=4)) == [("warning", "few images")]
    assert findings(*healthy("nut", train=10), *healthy("bolt", train=100)) == []
    assert findings(*healthy("nut", train=10), *healthy("bolt", train=101)) == [
        ("warning", "imbalance")
    ]


def test_errors_come_first_and_are_all_refused() -> None:
    rows = [
        ("nut", "test", "dent", "new", 0),
        ("nut", "test", "good", "nutt1", NO_MASK),
        ("nut", "test", "dent", "nutt2", 5),
    ]
    found = examine(table(*healthy(), *rows))
    assert list(found["severity"]) == ["error", "error", "warning"]
    with pytest.raises(InputError, match="2 problems"):
        refuse_spoiled(table(*healthy(), *rows), "root")


def test_counts_beside_the_published_ones() -> None:
    rows = [*healthy(), ("nut", "test", "burr", "b0", 3)]
    published = {"nut": Counts(train=12, good=5, anomalous=4), "bolt": Counts(9, 9, 9)}
    counts = count_images(table(*rows), published).set_index(["split", "defect"])
    assert counts["images"].to_dict() == {
        ("train", "good"): 12, ("test", "good"): 6, ("test", "dent"): 3, ("test", "burr"): 1,
    }  # fmt: skip
    assert counts["masks"].to_dict()["test", "dent"] == 3
    assert counts["published"].to_dict()["train", "good"] == 12
    assert counts["difference"].to_dict()["test", "good"] == 1
    # All anomalous kinds together stand beside the first of them.
    anomalous = counts.loc["test"].drop("good")
    assert anomalous["published"].sum() == 4
    assert anomalous["difference"].sum() == 0
    assert anomalous["published"].notna().sum() == 1
    found = examine(table(*rows), published)
    assert list(found["finding"]) == ["nut has 6 normal test images where 5 were published"]


def test_counts_without_published_ones_claim_nothing() -> None:
    assert "published" not in count_images(table(*healthy()))


def masked(*rows: tuple[str, str, str, int, str]) -> pd.DataFrame:
    """Anomalous images of 10 x 10 pixels: class, kind, mask or none, marked pixels and values."""
    made = pd.DataFrame(rows, columns=["class", "defect", "mask", "mask_pixels", "mask_values"])
    made["mask"] = made["mask"].replace("", pd.NA)
    made = made.assign(split="test", label=1, width=10, height=10)
    made["image"] = [f"{row.defect}/{number}.png" for number, row in made.iterrows()]
    made["pixel_hash"] = made["image"]
    return made


def test_masks_that_may_mean_something_else_are_findings() -> None:
    rows = [
        ("nut", "dent", "a", 51, "0, 255"),
        ("nut", "dent", "b", 50, "0, 255"),
        ("nut", "rust", "c", 9, "0 to 255, 99 values, soft"),
        ("nut", "rust", "", NO_MASK, ""),
        ("bolt", "rust", "", NO_MASK, ""),
    ]
    found = examine(masked(*rows)).set_index("check")["finding"].drop("few images")
    assert set(found.index) == {"large masks", "soft masks", "missing masks"}
    assert "dent/0.png mark more than half" in found["large masks"]
    assert "rust/2.png have soft edges" in found["soft masks"]
    assert "rust/3.png has no mask, 3 other anomalous images of nut" in found["missing masks"]
