"""The mistakes that ``tools.mutants`` makes, and those that it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.mutants import find_mutants, sample, steps_of

SOURCE = '''"""What it is."""

import logging

LEVEL: int = 3


def share(part: list[int], whole: int = 4) -> float:
    """How much."""
    if not part:
        raise ValueError("no part")
    logger.info("a part of %d", 3)
    part = sorted(part, reverse=True)
    total = sum(part)
    return total / whole
'''


def changes(tmp_path: Path, source: str) -> set[str]:
    (tmp_path / "code.py").write_text(source)
    return {str(mutant).split(": ", 1)[1] for mutant in find_mutants(tmp_path, Path("code.py"))}


def test_code_is_changed_and_texts_and_type_hints_are_not(tmp_path: Path) -> None:
    assert changes(tmp_path, SOURCE) == {
        "3  ->  4",
        "4  ->  5",
        "not part  ->  part",
        "not part  ->  not not part",
        "raise ValueError('no part')  ->  pass",
        "True  ->  False",
        "reverse=True  ->  (left out)",
        "part = sorted(part, reverse=True)  ->  pass",
        "total / whole  ->  total * whole",
        "return total / whole  ->  return None",
    }


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("x < 1", "x < 1  ->  x <= 1"),
        ("x == y", "x == y  ->  x != y"),
        ("x and y", "x and y  ->  x or y"),
        ("-x", "-x  ->  x"),
        ("f(x, y)", "f(x, y)  ->  f(y, x)"),
        ("x if y else z", "y  ->  not y"),
        ("f('text')", "'text'  ->  'xtext'"),
        ("x += 1", "x += 1  ->  x -= 1"),
    ],
)
def test_each_kind_of_mistake(source: str, change: str, tmp_path: Path) -> None:
    assert change in changes(tmp_path, source)


@pytest.mark.parametrize(
    "source", ["max(x, y)", "f(x, x)", "f(*x, y)", "f'{x + 1}'", "x = y", "import x"]
)
def test_what_would_change_nothing_or_only_break_is_no_mutant(source: str, tmp_path: Path) -> None:
    assert changes(tmp_path, source) <= {f"{source}  ->  pass"}


def test_a_mutant_differs_from_the_file_in_one_place_and_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("x = [1, 2]\ny = f(3, k=4)\n")
    mutants = find_mutants(tmp_path, Path("code.py"))
    assert [mutant.source() for mutant in mutants] == [
        "x = [2, 2]\ny = f(3, k=4)",
        "x = [1, 3]\ny = f(3, k=4)",
        "x = [1, 2]\ny = f(4, k=4)",
        "x = [1, 2]\ny = f(3)",
        "x = [1, 2]\ny = f(3, k=5)",
    ]
    assert (tmp_path / "code.py").read_text() == "x = [1, 2]\ny = f(3, k=4)\n"


def test_the_sample_is_seeded_and_without_doubles(tmp_path: Path) -> None:
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms/one.py").write_text("x = [1, 2, 3, 4]")
    (tmp_path / "rooms/two.py").write_text("y = [5, 6, 7, 8]")

    def drawn(number: int, seed: int) -> list[str]:
        return [str(mutant) for mutant in sample(tmp_path, [Path("rooms")], number, seed)]

    assert drawn(5, 1) == drawn(5, 1) != drawn(5, 2)
    assert len(set(drawn(99, 0))) == 8


def test_a_file_is_tried_on_the_tests_that_mirror_it_first() -> None:
    root, package = Path(__file__).parents[1], "src/uniformaly_pipeline"
    whole = ["tests/scoring", f"{package}/scoring"]
    scores = f"{package}/scoring/scores.py"
    assert steps_of(root, Path(scores), ["tests/test_parity.py"]) == [
        ["tests/scoring/test_scores.py", scores], whole, ["tests/test_parity.py"],
    ]  # fmt: skip
    paper = f"{package}/evaluation/paper/__init__.py"
    assert steps_of(root, Path(paper), [])[0] == ["tests/evaluation/test_paper.py", paper]


def test_a_node_is_tried_on_the_tests_of_its_stage_first() -> None:
    root, package = Path(__file__).parents[1], "src/uniformaly_pipeline"
    nodes = f"{package}/pipelines/scoring/nodes.py"
    assert steps_of(root, Path(nodes), []) == [
        ["tests/pipelines/scoring/test_nodes.py", nodes],
        ["tests/pipelines", f"{package}/pipelines"],
    ]
