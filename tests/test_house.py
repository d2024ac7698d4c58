"""The house stands: every room imports only rooms before it, and everything lies in its room."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tools.house import (
    DOMAIN,
    FLOORS,
    FRAME,
    PACKAGE,
    RANK,
    ROOT,
    SOURCE,
    Import,
    imports,
    modules,
    room_of,
)

TESTS = Path(__file__).parent

ROOMS = {room for floor in (*DOMAIN, *FRAME[:2]) for room in floor}
ROOT_FILES = {f"{name}.py" for floor in FRAME[2:] for name in floor} | {
    "__init__.py",
    "py.typed",
    ".telemetry",
}

FIRST = f"{PACKAGE}.common.cores"
"""What the package itself imports before any room: it comes before torch, and imports no room."""

ACROSS_ROOMS = {"end_to_end", "browser", "parity", "reliability"}
"""Folders of tests that cover several rooms."""


def out_of_order(found: list[Import]) -> Iterator[str]:
    """Imports of a room by another that does not come after it."""
    for each in found:
        importer, target = room_of(each.importer), room_of(each.target)
        if each.importer == PACKAGE and each.target == FIRST:
            continue
        if each.is_own and importer != target and RANK.get(importer, -1) <= RANK[target]:
            yield f"{each}, but {importer} does not come after {target}"


def circle(found: list[Import]) -> list[str]:
    """A circle of imports of modules; none: empty."""
    lines: dict[tuple[str, str], Import] = {}
    follows: dict[str, set[str]] = defaultdict(set)
    for each in found:
        if each.is_own:
            # Python runs the packages around a module first.
            parts = each.target.split(".")
            around = {".".join(parts[:length]) for length in range(1, len(parts))}
            entered = {name for name in around if not f"{each.importer}.".startswith(f"{name}.")}
            for target in {each.target, *entered}:
                follows[each.importer].add(target)
                lines.setdefault((each.importer, target), each)
    try:
        TopologicalSorter(follows).prepare()
    except CycleError as error:
        around_it = error.args[1]
        return [str(lines[pair]) for pair in zip(around_it[1:], around_it, strict=False)]
    return []


def uses_of_kedro(found: list[Import]) -> Iterator[Import]:
    """Imports of Kedro, or of its plugins, by the domain's rooms."""
    domain = {room for floor in DOMAIN for room in floor}
    for each in found:
        is_kedro = each.target.partition(".")[0].partition("_")[0] == "kedro"
        if is_kedro and room_of(each.importer) in domain:
            yield each


@pytest.fixture(scope="module")
def found() -> list[Import]:
    return imports()


def test_a_room_imports_only_rooms_before_it(found: list[Import]) -> None:
    assert sum(each.is_own for each in found) > 300
    wrong = list(out_of_order(found))
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle(found: list[Import]) -> None:
    wrong = circle(found)
    assert not wrong, "\n".join(wrong)


def test_domain_code_knows_no_kedro(found: list[Import]) -> None:
    """Nodes, datasets and the project's frame use Kedro; the method does not."""
    wrong = [str(each) for each in uses_of_kedro(found)]
    assert not wrong, "\n".join(wrong)


def test_the_package_holds_rooms_and_root_files_only() -> None:
    inside = [path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file()]
    kept = [path for path in inside if "__pycache__" not in path.parts]
    rooms = {path.parts[0] for path in kept if len(path.parts) > 1}
    assert rooms == ROOMS, "a room is named in tools/house.py, and holds something"
    strays = [str(path) for path in kept if len(path.parts) == 1 and path.name not in ROOT_FILES]
    assert not strays, "these belong into a room"


def test_every_package_says_what_it_holds() -> None:
    for folder in {path.parent for path in SOURCE.rglob("*.py")}:
        face = folder / "__init__.py"
        assert face.is_file(), f"{face} is missing"
        assert ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))), f"{face}: no words"


def test_tests_mirror_the_package() -> None:
    """The tests of a room, or of ``tools/``, lie in its folder; those of several at the root."""
    for path in TESTS.rglob("test_*.py"):
        folder = path.parent.relative_to(TESTS)
        if folder.parts and folder.parts[0] not in ACROSS_ROOMS:
            mirrored = ROOT if folder.parts[0] == "tools" else SOURCE
            assert (mirrored / folder / "__init__.py").is_file(), f"{path}: nothing to test"


# --- the rules see what is wrong --------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of two rooms, features after common, with nothing wrong."""
    for name, text in {
        "__init__": '__version__ = "1"',
        "common/__init__": "",
        "common/errors": f"from {PACKAGE} import __version__",
        "features/__init__": "",
        "features/store": f"import numpy\nfrom {PACKAGE}.common.errors import InputError",
        "features/encoder": f"from {PACKAGE}.features import store",
        "features/parts/__init__": f"from {PACKAGE}.features.parts import one",
        "features/parts/one": f"from {PACKAGE}.features.parts.two import two",
        "features/parts/two": "two = 2",
    }.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_nothing_is_wrong_with_what_is_right(package: Path) -> None:
    found = imports(package)
    assert not [*out_of_order(found), *circle(found), *uses_of_kedro(found)]
    assert set(modules(package)) >= {
        PACKAGE,
        f"{PACKAGE}.features",
        f"{PACKAGE}.features.parts.one",
    }


@pytest.mark.parametrize(
    "text",
    [
        "import uniformaly_pipeline.features.store",
        "from uniformaly_pipeline.features.store import FeatureStore",
        "from uniformaly_pipeline import features",
        "from ..features import store",
        "from .. import features",
        "def late():\n    from uniformaly_pipeline.features import store",
        "if TYPE_CHECKING:\n    from uniformaly_pipeline.features import store",
    ],
)
def test_an_import_of_a_later_room_is_seen(package: Path, text: str) -> None:
    (package / "common/progress.py").write_text(f"\n{text}")
    (wrong,) = out_of_order(imports(package))
    line = 1 + len(text.splitlines())
    assert wrong.startswith(f"common/progress.py:{line} imports {PACKAGE}.features")


def test_rooms_of_one_floor_do_not_import_each_other(package: Path) -> None:
    for room in ("evaluation", "detector"):
        (package / room).mkdir()
        (package / room / "__init__.py").touch()
    (package / "evaluation/metrics.py").write_text(f"from {PACKAGE} import detector")
    (package / "detector/decisions.py").write_text(f"from {PACKAGE} import evaluation")
    assert len(list(out_of_order(imports(package)))) == 2


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("features/store.py", "from uniformaly_pipeline.features.encoder import encode"),
        ("features/store.py", "from . import store"),
        ("features/parts/two.py", "from uniformaly_pipeline.features.parts import one"),
        # The module alone is free of it, but its package is not.
        ("features/parts/one.py", "from uniformaly_pipeline.features.late import late"),
    ],
)
def test_a_circle_is_seen(package: Path, path: str, text: str) -> None:
    late = f"def late():\n    from {PACKAGE}.features.parts.two import two"
    (package / "features/late.py").write_text(late)
    (package / path).write_text(text)
    assert any(line.startswith(f"{path}:1 imports") for line in circle(imports(package)))


@pytest.mark.parametrize(
    "text", ["import kedro", "from kedro.io import DataCatalog", "import kedro_datasets.pandas"]
)
def test_kedro_in_the_domain_is_seen(package: Path, text: str) -> None:
    (package / "features/store.py").write_text(text)
    (package / "pipelines").mkdir()
    (package / "pipelines/binding.py").write_text(text)
    (wrong,) = uses_of_kedro(imports(package))
    assert str(wrong).startswith("features/store.py:1 imports kedro")


def test_floors_name_every_room_once() -> None:
    names = [room for floor in FLOORS for room in floor]
    assert len(names) == len(set(names))
