"""Which classes a memory bank of many classes takes for normal (paper section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.ingestion.roots import same_name


def multiclass_splits(
    classes: Sequence[str],
    splits: Mapping[str, Sequence[str]] | None,
    *,
    has_defects: bool,
    key: str = "splits",
) -> dict[str, list[str]]:
    """Normal classes of each multi-class memory bank: the data set's splits, or else the default.

    The default is one bank of all classes for defects; where foreign classes are anomalous,
    either half of the classes in turn.

    Args:
        classes: The classes that the run covers.
        splits: Normal classes by the name of the split, or ``None`` for the default.
        has_defects: Whether anomalous images are defective ones; otherwise they are of the other
            classes.
        key: The parameter that holds the splits, for messages.

    Raises:
        InputError: A split names a class that is not there or leaves none to be anomalous.
    """
    if splits is None:
        half = (len(classes) + 1) // 2
        by_half = {"first_half": classes[:half], "second_half": classes[half:]}
        splits = {"all_categories": classes} if has_defects else by_half
    found: dict[str, list[str]] = {split: [] for split in splits}
    for split, names in splits.items():
        for name in names:
            own = same_name(name, classes)
            if own is None:
                hint = did_you_mean(name, classes)
                raise InputError(f"{key}.{split}: the run has no class '{name}'{hint}")
            found[split].append(own)
        if not has_defects and not 0 < len(names) < len(classes):
            raise InputError(
                f"{key}.{split}: {len(names)} of {len(classes)} classes are normal; both "
                "normal and anomalous classes are needed"
            )
    return found
