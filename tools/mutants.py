"""Does a test notice when the code is wrong? Small random mistakes, each tried on the tests.

``python -m tools.mutants --number 200 --seed 0`` samples mutants of the rooms that compute
(memory_bank, scoring, evaluation, detector) and of all nodes, or of the files and folders named,
and tells which survive the tests. A copy in a temporary folder is changed, never the working tree.

A mutant is one change: a comparison, an operator or a constant replaced, a condition negated, a
keyword argument or a statement left out, two arguments swapped, nothing returned. Texts for people
(docstrings, log lines, progress, messages of errors), type hints, imports and decorators stay as
they are; so do first assignments, without which a function only stops with a NameError.

A mutant is tried on the tests that mirror its file (or its stage, for nodes), then on those of its
room, then on those named by ``--also``; a test that fails, or takes too long, kills it. Needs
``fork`` (Linux, macOS).
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

PACKAGE = Path("src/uniformaly_pipeline")
ROOMS = [PACKAGE / room for room in ("memory_bank", "scoring", "evaluation", "detector")]
NODES = "pipelines/*/nodes.py"
COPIED = ("src", "tests", "conf", "pyproject.toml")
PRELOADED = (
    "faiss", "hypothesis.extra.numpy", "pandas", "pyarrow.parquet", "pytest", "safetensors",
    "scipy.ndimage", "scipy.optimize", "sklearn.cluster", "sklearn.metrics", "timm", "torch",
    "torchvision.transforms",
)  # fmt: skip
"""Imported once, before processes that run tests fork off."""

PATIENCE = 20.0, 5.0
"""Tests count as failed after so many seconds, and so many times what they take by themselves."""

OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
Outcome = Literal["survived", "killed", "too slow"]

STATEMENTS = (ast.Expr, ast.AugAssign, ast.Assign, ast.Raise, ast.Break, ast.Continue)
"""Statements that may be left out."""
NO_CODE = {"annotation", "returns", "decorator_list"}
"""Fields of syntax nodes that hold type hints and decorators."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: The file, relative to the root of the tree.
        tree: Its syntax, unchanged.
        holder: The node that holds what is replaced.
        name: The attribute that holds it.
        place: Its place there, where that is a list.
        new: What replaces it; ``None`` leaves it out.
    """

    path: Path
    tree: ast.Module
    holder: ast.AST
    name: str
    place: int | None
    new: ast.AST | None

    def __str__(self) -> str:
        """File, line and the change."""
        value = getattr(self.holder, self.name)
        old = value if self.place is None else value[self.place]
        return f"{self.path}:{old.lineno}: {_one_line(old)}  ->  {_one_line(self.new)}"

    def source(self) -> str:
        """The changed file."""
        value = getattr(self.holder, self.name)
        changed = self.new
        if self.place is not None:
            changed = value.copy()
            changed[self.place : self.place + 1] = [] if self.new is None else [self.new]
        setattr(self.holder, self.name, changed)
        try:
            return ast.unparse(self.tree)
        finally:
            setattr(self.holder, self.name, value)


def _one_line(node: ast.AST | None) -> str:
    return "(left out)" if node is None else " ".join(ast.unparse(node).split())


def find_mutants(root: Path, path: Path) -> list[Mutant]:
    """All mutants of a file below ``root``."""
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    return [
        Mutant(path, tree, holder, name, place, new)
        for holder, name, place, node in _places(tree)
        for new in _changes(node, holder, name)
    ]


def _places(holder: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node below one that may change: what holds it, where, and the node."""
    for name, value in ast.iter_fields(holder):
        if name in NO_CODE:
            continue
        for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST) and not _is_for_people(node, holder):
                yield holder, name, place, node
                if not isinstance(node, ast.Raise):  # the rest is the message
                    yield from _places(node)


def _is_for_people(node: ast.AST, holder: ast.AST) -> bool:
    """Whether a node is text or a type hint, and computes nothing."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.JoinedStr():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="logger")))):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Call(func=ast.Name(id="TypeVar")):
            return True
        case ast.Subscript(value=ast.Name(id="Literal")):
            return True
        case ast.Constant(value=str()):
            return isinstance(holder, ast.Call) and _one_line(holder.func) == "track"
    return False


def _changes(node: ast.AST, holder: ast.AST, name: str) -> Iterator[ast.AST | None]:
    """What a node may be replaced by."""
    new: Any = copy.deepcopy(node)
    match node:
        case ast.Compare(ops=[op, *others]) if type(op) in OTHER:
            new.ops = [OTHER[type(op)](), *others]
            yield new
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op) if type(op) in OTHER:
            new.op = OTHER[type(op)]()
            yield new
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield new.operand
        case ast.Constant(value=bool() | int() | float() | str() | bytes()):
            new.value = _other(new.value)
            yield new
        case ast.Return(value=ast.expr()) if _one_line(new.value) != "None":
            new.value = ast.Constant(None)
            yield new
        case ast.Call(args=[first, second, *_]) if _order_matters(node.func, first, second):
            new.args[:2] = [second, first]
            yield new
        case ast.keyword(arg=str()) if isinstance(holder, ast.Call):
            yield None
    if name == "test" and isinstance(holder, ast.If | ast.IfExp):
        yield ast.UnaryOp(ast.Not(), copy.deepcopy(cast(ast.expr, node)))
    if isinstance(node, STATEMENTS) and not _binds_a_name(node):
        yield ast.Pass()


def _other(value: Any) -> Any:
    """Another constant of the same type."""
    if isinstance(value, bool):
        return not value
    # In front: numpy reads only the first letter of some names.
    more: dict[type, Any] = {str: "x", bytes: b"x"}
    return more.get(type(value), 1) + value


def _order_matters(function: ast.expr, first: ast.expr, second: ast.expr) -> bool:
    if any(isinstance(argument, ast.Starred) for argument in (first, second)):
        return False
    alike = _one_line(first) == _one_line(second)
    return not alike and _one_line(function) not in {"max", "min", "isinstance"}


def _binds_a_name(node: ast.AST) -> bool:
    """Whether a statement gives names values that do not build on what these were."""
    if not isinstance(node, ast.Assign):
        return False
    names = [part for target in node.targets for part in ast.walk(target)]
    bound = {n.id for n in names if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    used = {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
    return not bound <= used


def steps_of(root: Path, path: Path, also: Sequence[str]) -> list[list[str]]:
    """The tests that may kill a mutant of a file, in the steps in which they are tried."""
    room, *_, name = path.relative_to(PACKAGE).parts
    folder = Path("tests") / room
    mirrored = folder / f"test_{path.parent.name if name == '__init__.py' else path.stem}.py"
    if room == "pipelines":
        mirrored = folder / path.parent.name / f"test_{path.stem}.py"
    steps = [[str(mirrored), str(path)]] if (root / mirrored).exists() else []
    return [*steps, [str(folder), str(PACKAGE / room)], *[[tests] for tests in also]]


def _pytest(root: Path, tests: list[str]) -> None:
    """Run tests of a tree in a process of its own; it exits with 0 if all pass."""
    os.chdir(root)
    os.environ["PYTHONPATH"] = str(root / "src")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(root / "src")]
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    import pytest
    from hypothesis import Phase, settings

    # That an example fails is enough: the smallest one is not looked for.
    settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutants")
    options = ["-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider", "-m", "not slow"]
    sys.exit(int(pytest.main([*options, *tests])))


def run_tests(root: Path, tests: list[str], limit: float | None = None) -> Outcome:
    """Run tests of a tree, for so many seconds at most."""
    process = multiprocessing.get_context("fork").Process(target=_pytest, args=(root, tests))
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return "too slow"
    return "survived" if process.exitcode == 0 else "killed"


class Trial:
    """Tries mutants in a copy of the tree.

    Attributes:
        root: The copy.
        also: Tests for what survives those of its room.
    """

    def __init__(self, root: Path, also: Sequence[str]) -> None:
        self.root, self.also = root, also
        self._limits: dict[tuple[str, ...], float] = {}

    def outcome(self, mutant: Mutant) -> Outcome:
        """What the tests make of a mutant.

        Raises:
            RuntimeError: The tests fail without it.
        """
        for tests in steps_of(self.root, mutant.path, self.also):
            limit = self._limit(tests)
            file = self.root / mutant.path
            original = file.read_bytes()
            try:
                file.write_text(mutant.source(), encoding="utf-8")
                found = run_tests(self.root, tests, limit)
            finally:
                file.write_bytes(original)
            if found != "survived":
                return found
        return "survived"

    def _limit(self, tests: list[str]) -> float:
        key = tuple(tests)
        if key not in self._limits:
            start = time.perf_counter()
            if run_tests(self.root, tests) != "survived":
                raise RuntimeError(f"{' '.join(tests)}: these tests fail without a mutant")
            self._limits[key] = PATIENCE[0] + PATIENCE[1] * (time.perf_counter() - start)
        return self._limits[key]


def sample(root: Path, paths: Sequence[Path], number: int, seed: int) -> list[Mutant]:
    """Some mutants of files and of all files below folders, all different."""
    files = [file for path in paths for file in _files(root, path)]
    mutants = [mutant for file in files for mutant in find_mutants(root, file)]
    return random.Random(seed).sample(mutants, min(number, len(mutants)))


def _files(root: Path, path: Path) -> list[Path]:
    found = sorted((root / path).rglob("*.py")) if (root / path).is_dir() else [root / path]
    return [file.relative_to(root) for file in found]


def main(arguments: Sequence[str] | None = None) -> None:
    """Try mutants and print what became of each, then how many were killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    whole = [*ROOMS, *sorted(PACKAGE.glob(NODES))]
    parser.add_argument("paths", nargs="*", type=Path, default=whole)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--also", nargs="*", default=[], help="tests for what survives its room's")
    options = parser.parse_args(arguments)
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in COPIED:
            copied = shutil.copytree if Path(name).is_dir() else shutil.copy
            copied(name, root / name)
        mutants = sample(root, options.paths, options.number, options.seed)
        trial = Trial(root, options.also)
        outcomes: Counter[Outcome] = Counter()
        for mutant in mutants:
            outcome = trial.outcome(mutant)
            outcomes[outcome] += 1
            print(f"{outcome:8}", mutant, flush=True)
    killed = len(mutants) - outcomes["survived"]
    print(
        f"{killed} of {len(mutants)} killed ({killed / len(mutants):.1%}), "
        f"{outcomes['too slow']} of them too slow"
    )


if __name__ == "__main__":
    main()
