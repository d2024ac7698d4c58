"""Which classes a memory bank of many classes takes for normal."""

from __future__ import annotations

import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.splits import multiclass_splits

FIVE = ["a", "b", "c", "d", "e"]


def test_defects_have_one_bank_of_all_classes() -> None:
    assert multiclass_splits(FIVE, None, has_defects=True) == {"all_categories": FIVE}


def test_foreign_classes_have_either_half_in_turn() -> None:
    splits = multiclass_splits(FIVE, None, has_defects=False)
    assert splits == {"first_half": ["a", "b", "c"], "second_half": ["d", "e"]}


def test_the_data_sets_own_splits_come_first() -> None:
    own = {"one": ["e", "a"], "two": ["b"]}
    assert multiclass_splits(FIVE, own, has_defects=True) == own
    assert multiclass_splits(FIVE, own, has_defects=False) == own


def test_all_classes_may_be_normal_where_defects_are_anomalous() -> None:
    assert multiclass_splits(FIVE, {"all": FIVE}, has_defects=True) == {"all": FIVE}
    with pytest.raises(InputError, match=r"^k\.all: 5 of 5 classes are normal"):
        multiclass_splits(FIVE, {"all": FIVE}, has_defects=False, key="k")


def test_no_class_may_not_be_normal() -> None:
    with pytest.raises(InputError, match=r"^splits\.none: 0 of 5 classes are normal"):
        multiclass_splits(FIVE, {"none": []}, has_defects=False)


def test_an_unknown_class_is_named_with_the_closest() -> None:
    with pytest.raises(InputError, match=r"^k\.x: the run has no class 'gren'; did you mean 'gre"):
        multiclass_splits(["red", "green"], {"x": ["gren"]}, has_defects=True, key="k")
