"""Numbers that Python code gives, which no schema has checked."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.backbone import Backbone, named_backbone

DTYPES = ("float16", "float32")


def check_number(
    called: str, value: object, fits: Callable[[Any], bool], wanted: str, *, whole: bool = False
) -> None:
    """Refuse what is no number, or one that does not fit.

    Raises:
        InputError: The line says what it is, and what is wanted.
    """
    kind = Integral if whole else Real
    if isinstance(value, bool) or not isinstance(value, kind) or not fits(value):
        raise InputError(f"{called} is {value!r} but must be {wanted}")


def check_fit(coreset_ratio: object, seed: object, feature_dtype: object) -> None:
    """See :func:`check_number`."""
    check_share(coreset_ratio)
    check_number("seed", seed, lambda n: n >= 0, "a whole number from 0 on", whole=True)
    if feature_dtype not in DTYPES:
        raise InputError(f"feature_dtype is {feature_dtype!r} but must be {' or '.join(DTYPES)}")


def check_share(coreset_ratio: object) -> None:
    """See :func:`check_number`."""
    wanted = "a number above 0 and up to 1"
    check_number("coreset_ratio", coreset_ratio, lambda share: 0 < share <= 1, wanted)


def check_batch_size(batch_size: object) -> None:
    """See :func:`check_number`."""
    wanted = "a whole number from 1 on"
    check_number("batch_size", batch_size, lambda number: number >= 1, wanted, whole=True)


def chosen_backbone(backbone: object) -> Backbone:
    """The backbone that is meant: itself, or one that ships by its name.

    Raises:
        InputError: It is neither.
    """
    if isinstance(backbone, Backbone):
        return backbone
    if isinstance(backbone, str):
        return named_backbone(backbone)
    raise InputError(
        f"backbone is {backbone!r} but must be a name, such as 'dino_vits8', or a Backbone"
    )
