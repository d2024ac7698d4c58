"""The house: the rooms of the package in their order, and who imports whom, read from the code.

``tests/test_house.py`` holds the order; ``tools.docs.architecture`` draws it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "uniformaly_pipeline"
SOURCE = ROOT / "src" / PACKAGE

DOMAIN = (
    ("common",),
    ("ingestion",),
    ("features",),
    ("memory_bank",),
    ("scoring",),
    ("evaluation", "detector"),
    ("parameters",),
    ("reporting",),
)
"""Floors of rooms that know no Kedro. A room imports only rooms of the floors before its own."""

FRAME = (
    ("datasets", "tracking", "pipelines"),
    ("commands",),
    ("hooks", "pipeline_registry"),
    ("settings",),
    ("cli",),
    ("__main__",),
)
"""Floors that may know Kedro, after the domain's."""

FLOORS = (*DOMAIN, *FRAME)
RANK = {room: rank for rank, floor in enumerate(FLOORS) for room in floor} | {"__init__": -1}


@dataclass(frozen=True)
class Import:
    """An import.

    Attributes:
        path: The file that imports, relative to the package's folder.
        line: Its line.
        importer: The module that the file is.
        target: The module that is imported; of the package, one that exists.
    """

    path: Path
    line: int
    importer: str
    target: str

    def __str__(self) -> str:
        """Where it stands, and what it says."""
        return f"{self.path.as_posix()}:{self.line} imports {self.target}"

    @property
    def is_own(self) -> bool:
        """Whether the package's own code is imported."""
        return self.target.partition(".")[0] == PACKAGE


def room_of(module: str) -> str:
    """The room or root file of a module of the package; ``__init__`` for the package itself."""
    return module.split(".")[1] if "." in module else "__init__"


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """The files of the package by module."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        inside = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join((PACKAGE, *inside))] = path
    return found


def imports(source: Path = SOURCE) -> list[Import]:
    """All imports, also those inside functions and those for type checkers only."""
    files = modules(source)
    return [
        Import(path.relative_to(source), line, module, target)
        for module, path in files.items()
        for line, target in sorted(_targets(path, module, files))
    ]


def room_imports(source: Path = SOURCE) -> dict[str, set[str]]:
    """The rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for each in imports(source):
        importer, target = room_of(each.importer), room_of(each.target)
        if each.is_own and importer != target:
            found.setdefault(importer, set()).add(target)
    return found


def _targets(path: Path, module: str, files: dict[str, Path]) -> Iterator[tuple[int, str]]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, _existing(name, files)) for name in names)


def _existing(name: str, files: dict[str, Path]) -> str:
    """The module that an imported name is, or lies in; foreign names stay as they are."""
    shorter = name
    while shorter:
        if shorter in files:
            return shorter
        shorter = shorter.rpartition(".")[0]
    return name
