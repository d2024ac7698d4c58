"""The documentation says what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from tools.docs import architecture
from tools.docs import paper as coverage
from tools.docs import parameters as reference
from tools.house import FLOORS, SOURCE
from uniformaly_pipeline.evaluation.paper.coverage import ITEMS
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.parameters.schema import Parameters

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FREE = ("splits", "model_kwargs")
"""Mappings whose keys are the user's."""

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def rows() -> list[reference.Row]:
    return [row for section in reference.sections().values() for row in section]


def test_the_page_of_parameters_is_up_to_date() -> None:
    page = (DOCS / "parameters.md").read_text(encoding="utf-8")
    assert page == reference.page(), "run: python -m tools.docs.parameters"


def test_the_table_of_the_papers_items_is_up_to_date() -> None:
    page = (DOCS / "paper.md").read_text(encoding="utf-8")
    assert page == coverage.page(), "run: python -m tools.docs.paper"


def test_the_table_has_every_item_of_the_paper_with_its_command() -> None:
    page = (DOCS / "paper.md").read_text(encoding="utf-8")
    for item in ITEMS:
        (row,) = re.findall(rf"^\| {item.name} \|.*$", page, re.MULTILINE)
        assert item.missing in row
        for task in {task for tasks in item.tasks.values() for task in tasks}:
            assert f"`--pipelines={task}`" in row, (item.name, task)


def test_the_map_is_up_to_date() -> None:
    """The picture of the rooms is that of today's imports, their lines those of the code."""
    advice = "run: python -m tools.docs.architecture"
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.picture(), advice
    assert architecture.PAGE.read_text(encoding="utf-8") == architecture.page(), advice


def test_the_map_shows_every_room() -> None:
    picture = architecture.picture()
    for room in {room for floor in FLOORS for room in floor} - architecture.LEFT_OUT:
        assert f">{room}<" in picture or f">{room}.py<" in picture, room
        words = architecture.lead(room)
        assert 0 < len(words) <= 26, f"{room}: '{words}' is too long for its box"
    goods = ["raw images", "manifest", "memory bank", "patch scores", "metrics", "report"]
    places = [picture.index(f">{name}<") for name in goods]
    assert places == sorted(places)


def test_the_map_names_what_is_there() -> None:
    page = architecture.PAGE.read_text(encoding="utf-8")
    paths = set(re.findall(r"`([a-z_/]+(?:/|\.py))`", page))
    assert len(paths) > 20
    for path in paths:
        assert (SOURCE / path).exists() or (ROOT / path).exists(), path


def test_only_arrows_that_no_chain_stands_for_are_drawn() -> None:
    arrows = {"d": ["a", "b", "c"], "c": ["b"], "b": ["a"], "e": ["a"]}
    assert architecture.thin(arrows) == {"d": {"c"}, "c": {"b"}, "b": {"a"}, "e": {"a"}}


def test_every_parameter_of_a_run_is_documented(shipped: Parameters) -> None:
    """The table of parameters has each key of a run, and no other."""
    resolved = shipped.resolved()
    expected = set()
    for section in ("datasets", "backbones"):
        (entry,) = resolved.pop(section).values()
        # The keys of a mapping such as model_kwargs are not the schema's.
        plain = {key: None if key in FREE else value for key, value in entry.items()}
        expected |= {f"{section}.<name>.{key}" for key, _ in flatten(plain)}
    expected |= {key for key, _ in flatten(resolved)}
    assert {row.key for row in rows()} == expected


def test_every_key_of_the_configuration_is_described() -> None:
    described = {row.key for row in rows()}
    for key, _ in flatten(reference.base_parameters()):
        general = re.sub(r"^(datasets|backbones)\.[^.]+", r"\1.<name>", key)
        general = re.sub(rf"({'|'.join(FREE)})\..*", r"\1", general)
        assert general in described, key


def test_every_parameter_has_a_meaning_and_a_default() -> None:
    for row in rows():
        assert row.meaning.endswith("."), row.key
        assert row.values, row.key
        assert row.default != "needed" or "<name>" in row.key, row.key


@pytest.mark.parametrize(
    ("key", "values", "default"),
    [
        ("bpm.mode", "`auto`, `binary`, `soft` or `off`", "`auto`"),
        ("bpm.threshold", "number ≥ 0 and < 1", "`0.1`"),
        ("encoder.num_workers", "whole number ≥ 0 or `auto`", "`auto`"),
        ("predict.images", "text or null", "`null`"),
        # Of conf/base, which differs from the schema's.
        (
            "lowshot.shots",
            "list: whole number ≥ 1 or `all`",
            '`[1, 2, 5, 10, 25, 50, "all"]`',
        ),
        # Of the schema: entries of data sets differ.
        (
            "datasets.<name>.preprocessing.crop",
            "whole number ≥ 1 or list of 2 or text or null",
            "`224/224`",
        ),
        ("backbones.<name>.layers", "list: whole number ≥ 0", "needed"),
    ],
)
def test_values_and_defaults_are_those_of_the_schema(key: str, values: str, default: str) -> None:
    (row,) = [row for row in rows() if row.key == key]
    assert (row.values, row.default) == (values, default)


def test_every_backbone_and_data_set_is_documented(shipped: Parameters) -> None:
    backbones = (DOCS / "backbones.md").read_text(encoding="utf-8")
    for name in shipped.backbones:
        assert f"`{name}`" in backbones, name
    datasets = (DOCS / "parameters.md").read_text(encoding="utf-8")
    for name in shipped.datasets:
        assert f"| `{name}` |" in datasets, name


def test_the_example_of_a_layout_works(tmp_path: Path) -> None:
    """The module of the page "Add a data set", run on a miniature."""
    page = (DOCS / "adding_a_dataset.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(\"\"\".*?)```", page, re.DOTALL)
    layout: dict[str, object] = {}
    exec(code, layout)
    for name in ("train/ok/1.png", "test/ok/2.png", "test/cracked/3.png"):
        path = tmp_path / "line1" / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(path)
    (tmp_path / "notes").mkdir()
    folder = ImageFolder(str(tmp_path))
    classes = layout["classes"](folder)  # type: ignore[operator]
    assert classes == ["line1"]
    records = layout["read"](folder, classes, Split())  # type: ignore[operator]
    assert {(record.image, record.split, record.label, record.defect) for record in records} == {
        ("line1/train/ok/1.png", "train", 0, "good"),
        ("line1/test/ok/2.png", "test", 0, "good"),
        ("line1/test/cracked/3.png", "test", 1, "cracked"),
    }
    for name in ("HAS_DEFECTS", "EXPECTED", "classes", "read"):
        assert name in layout
        assert all(hasattr(shipped, name) for shipped in LAYOUTS.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def test_each_row_of_what_a_mishap_may_do_names_tests_that_are_there() -> None:
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!mishap|---)(.+) \|$", page, re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        mishap, may, never, tests = row.split(" | ")
        assert mishap and may and never
        folder = Path()
        for name in re.findall(r"`(\S+\.py)`", tests):
            # A name without its folder is of the folder before.
            path = Path(name) if "/" in name else folder / name
            assert (ROOT / path).is_file(), f"{mishap}: {path}"
            folder = path.parent
        assert folder != Path(), f"{mishap}: no test"
