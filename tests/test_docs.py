"""The documentation says what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from uniformaly_pipeline.dotted import flatten
from uniformaly_pipeline.run_parameters import current_run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_parameter_is_documented() -> None:
    """The table of parameters has each key of a run, and no other."""
    table = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE))
    resolved = current_run().parameters.resolved()
    settings = {key for key, _ in flatten(resolved) if not key.startswith("backbones.")}
    dataset = resolved["dataset"]
    expected = {key.replace(f"datasets.{dataset}.", "datasets.<name>.") for key in settings}
    assert documented == expected | {"backbones.<name>.*"}


def test_every_backbone_is_documented() -> None:
    table = (ROOT / "docs/backbones.md").read_text(encoding="utf-8")
    for name in current_run().parameters.backbones:
        assert f"`{name}`" in table, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target
