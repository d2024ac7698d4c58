"""The results as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEADER = (
    "case",
    "authors' schedule",
    "ours",
    "ratio",
    "share of limit",
    "peak memory (authors' / ours)",
)
MARK = "†"


def table(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of all cases and what must be known of them."""
    rows = [HEADER, *(_row(name, case) for name, case in cases.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, _line(["-" * width for width in widths], widths))
    return "\n".join([*lines, "", *_notes(cases)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def _row(name: str, case: Mapping[str, Any]) -> tuple[str, ...]:
    if "skipped" in case:
        return (name, case["skipped"], "", "", "", "")
    ours, authors = case["ours"], case.get("authors")
    share = ours["share_of_limit"]
    memory = [_gigabytes(side) for side in (authors, ours) if side]
    marked = name if ours.get("agrees", True) else f"{name} (DIFFERENT RESULTS)"
    return (
        f"{marked} {MARK}" if case["note"] else marked,
        _seconds(authors["seconds"], case["unit"]) if authors else "-",
        _seconds(ours["seconds"], case["unit"]),
        f"{case['ratio']:.1f}x" if authors else "-",
        "-" if share is None else f"{share:.0%}",
        " / ".join(memory if authors else ["-", *memory]),
    )


def _seconds(seconds: float, unit: str) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.1f} m{unit}"
    return f"{seconds:.2f} {unit}" if seconds < 100 else f"{seconds:,.0f} {unit}"


def _gigabytes(side: Mapping[str, Any]) -> str:
    children = side.get("child_peak_bytes")
    apart = f" + {children / 1e9:.2f}" if children else ""
    return f"{side['peak_bytes'] / 1e9:.2f}{apart} GB"


def _notes(cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    notes = [
        "Peak memory: the most that a side's process has had resident, with Python, libraries and "
        "inputs; after a + its largest decoding process, which shares pages with it.",
        "Share of limit: of the time that the machine, measured next to each run, needs at best "
        "for the plain algorithm's work; above 100% where work is avoided.",
    ]
    for name, case in cases.items():
        if case.get("note"):
            notes.append(f"{MARK} {name}: {case['note']}.")
        if case.get("limit"):
            notes.append(f"{name}: limit is {case['limit']}.")
        if "ours" in case:
            notes += [f"{name}: {text}" for text in _findings(case["ours"])]
    return notes


def _findings(ours: Mapping[str, Any]) -> list[str]:
    """What a case found out beside its time."""
    found = []
    if "agreement" in ours:
        values = ", ".join(f"{key} {_value(value)}" for key, value in ours["agreement"].items())
        found.append(f"{'same results' if ours['agrees'] else 'DIFFERENT RESULTS'}: {values}.")
    if "limit_library" in ours["details"]:
        found.append(f"limit measured with {ours['details']['limit_library']}.")
    for key in ("images_fit", "categories_fit"):
        if key in ours["details"]:
            line = ours["details"][key]
            found.append(
                f"{key.replace('_', ' ')} {line['seconds_each']:.3f} s each + "
                f"{line['constant']:.2f} s, R^2 {line['r_squared']:.4f}."
            )
    if "by_images" in ours["details"]:
        peaks = [f"{row['peak_bytes'] / 1e9:.2f}" for row in ours["details"]["by_images"]]
        found.append(f"peak memory at each number of images {', '.join(peaks)} GB.")
    return found


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
