"""Help with a misspelt name."""

from __future__ import annotations

import pytest

from uniformaly_pipeline.common.errors import MAX_SUGGESTED, did_you_mean


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("carpt", "; did you mean 'carpet'?"),
        ("til", "; did you mean 'tile'?"),
        ("xyz", "; choose from: carpet, tile, 3"),
    ],
)
def test_closest_name_or_all_names(name: str, ending: str) -> None:
    assert did_you_mean(name, ["carpet", "tile", 3]) == ending  # type: ignore[list-item]


def test_a_prefix_is_shown_but_not_compared() -> None:
    assert did_you_mean("sed", ["seed", "sea"], "run.") == "; did you mean 'run.seed'?"
    assert did_you_mean("run.x", ["seed"], "run.") == "; choose from: run.seed"


def test_a_long_list_is_cut() -> None:
    ending = did_you_mean("xyz", (f"model{number}" for number in range(100)))
    assert ending.endswith(f"model{MAX_SUGGESTED - 1} and {100 - MAX_SUGGESTED} more")
