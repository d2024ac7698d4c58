"""Write docs/images/rooms.svg, and the rooms' lines in docs/architecture.md, from the code.

    python -m tools.docs.architecture

The rooms and their order are those of ``tools.house``, the arrows between them the code's imports,
the words the packages' docstrings. The way of an image is what the stages of the pipeline
``defect`` read and write.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from html import escape

from tools.docs.parameters import base_parameters
from tools.house import DOMAIN, FLOORS, ROOT, SOURCE, room_imports
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.schema import parse_parameters
from uniformaly_pipeline.pipelines.tasks.one_class import create_defect

PICTURE = ROOT / "docs/images/rooms.svg"
PAGE = ROOT / "docs/architecture.md"
BEGIN = '<!-- Made by "python -m tools.docs.architecture" from the packages\' docstrings. -->'
END = "<!-- To here. -->"

RAW, REPORT = "raw_images", "report"
"""Where the way of an image begins and ends."""

WORDS = {"images": "normal and test images", "features": "patch features, attention"}
"""Names of datasets that say more to a newcomer than those of the catalog."""

COLUMNS = {
    "detector": 2,
    "parameters": 1,
    "tracking": 1,
    "pipelines": 2,
    "hooks": 1,
    "pipeline_registry": 2,
    "settings": 1,
}
"""Where a room is drawn on its floor, from the left; 0: in the line of the method."""

LEFT_OUT = {"__init__", "__main__"}
"""Files without a box: a version, a way in, and one that is about to go."""

WIDTH = 800
TOP = 74
BOX_WIDTH, BOX_HEIGHT = 160, 44
FLOOR_HEIGHT = 74
FIRST_COLUMN, COLUMN_STEP = 258, 181
GOODS_LEFT, GOODS_WIDTH, LINE_HEIGHT = 24, 186, 15
PORT_STEP = 26

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
INK, FAINT, CARD, RULE = "#222222", "#5f6368", "#ffffff", "#c9ced6"
PLAIN, KEDRO, IMPORT, WAY, GOODS = "#e3eef8", "#ececec", "#0072B2", "#D55E00", "#fdeee3"


@dataclass(frozen=True)
class Box:
    """A room in the picture.

    Attributes:
        name: The room.
        floor: Its floor, 0 the first.
        column: Its column, 0 the left.
    """

    name: str
    floor: int
    column: int

    @property
    def left(self) -> int:
        return FIRST_COLUMN + self.column * COLUMN_STEP

    @property
    def middle(self) -> int:
        return self.left + BOX_WIDTH // 2

    @property
    def top(self) -> int:
        return TOP + self.floor * FLOOR_HEIGHT

    @property
    def bottom(self) -> int:
        return self.top + BOX_HEIGHT


def summary(room: str) -> str:
    """The first line of the docstring of a room or root file."""
    package = SOURCE / room / "__init__.py"
    path = package if package.is_file() else SOURCE / f"{room}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n", 1)[0].split())


def lead(room: str) -> str:
    """The words of the summary that stand in the picture: those before a colon or comma."""
    return summary(room).partition(":")[0].partition(",")[0].rstrip(".")


def thin(arrows: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The arrows that no chain of other arrows stands for.

    >>> thin({"c": ["a", "b"], "b": ["a"]}) == {"c": {"b"}, "b": {"a"}}
    True
    """

    def reached(start: str) -> set[str]:
        nexts = set(arrows.get(start, ()))
        return nexts.union(*map(reached, nexts))

    return {
        start: {end for end in ends if not any(end in reached(other) for other in ends)}
        for start, ends in arrows.items()
    }


@cache
def way() -> dict[str, tuple[list[str], set[str]]]:
    """What each stage hands on, and the stages that it takes from, in the order of the way."""
    parameters = parse_parameters(base_parameters() | {"dataset": "demo"})
    written: dict[str, dict[str, None]] = {}
    read: dict[str, set[str]] = {}
    for node in create_defect(CurrentRun(parameters, ROOT)).nodes:
        function = node.func.func if isinstance(node.func, partial) else node.func
        stage = function.__module__.split(".")[-2]  # ...pipelines.<stage>.nodes
        names = [name.rpartition(".")[2] for name in node.outputs]
        written.setdefault(stage, {}).update(dict.fromkeys(names))
        read.setdefault(stage, set()).update(name.rpartition(".")[2] for name in node.inputs)
    found = {}
    for stage, outputs in written.items():
        wanted = {REPORT}.union(*(names for other, names in read.items() if other != stage))
        goods = [name for name in outputs if name in wanted and name != RAW]
        sources = {
            other for other in written if other != stage and read[stage] & set(written[other])
        }
        found[stage] = (goods, sources)
    return found


def picture() -> str:
    """The picture, as SVG."""
    boxes = {
        name: Box(name, floor, COLUMNS.get(name, 0))
        for floor, names in enumerate(FLOORS)
        for name in names
        if name not in LEFT_OUT
    }
    floors = 1 + max(box.floor for box in boxes.values())
    height = TOP + floors * FLOOR_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="{FONT}" font-size="12">',
        "<title>The rooms of the package, and the way of an image through them</title>",
        f"<defs>{_marker('import', IMPORT)}{_marker('way', WAY)}</defs>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10" fill="{CARD}" '
        f'stroke="{RULE}"/>',
        *_headings(),
        *_border(),
        *_imports(boxes),
        *_rooms(boxes),
        *_way(boxes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def page() -> str:
    """The page, with the rooms' lines of today."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    rooms = [name for floor in FLOORS for name in floor if (SOURCE / name).is_dir()]
    table = ["| room | holds |", "| --- | --- |"]
    table += [f"| `{room}/` | {summary(room)} |" for room in rooms]
    return f"{before}{BEGIN}\n\n" + "\n".join(table) + f"\n\n{END}{rest.split(END)[1]}"


def _headings() -> list[str]:
    left = GOODS_LEFT + GOODS_WIDTH / 2
    return [
        _text(left, 30, "The way of an image", 15, weight="bold", colour=WAY),
        _text(left, 48, "each room makes what stands beside it", 11, colour=FAINT),
        _text(FIRST_COLUMN, 30, "Rooms and imports", 15, "start", "bold", IMPORT),
        _text(FIRST_COLUMN, 48, "An arrow leads from a room to one that it imports. Where a chain "
              "of arrows leads", 11, "start", colour=FAINT),
        _text(FIRST_COLUMN, 62, "there already, none is drawn. All arrows lead up.", 11, "start",
              colour=FAINT),
    ]  # fmt: skip


def _border() -> list[str]:
    """The line between the rooms that know no Kedro and those that do."""
    y = TOP + len(DOMAIN) * FLOOR_HEIGHT - (FLOOR_HEIGHT - BOX_HEIGHT) / 2
    right = WIDTH - 20
    return [
        f'<path d="M20 {y}H{right}" stroke="{RULE}" stroke-width="1.5" stroke-dasharray="5 4"/>',
        _text(GOODS_LEFT, y + 20, "below: the frame, with Kedro", 11, "start", colour=FAINT),
    ]


def _rooms(boxes: Mapping[str, Box]) -> list[str]:
    parts = []
    for box in boxes.values():
        is_plain = box.floor < len(DOMAIN)
        colour, rim = (PLAIN, IMPORT) if is_plain else (KEDRO, FAINT)
        parts.append(
            f'<rect x="{box.left}" y="{box.top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
            f'fill="{colour}" stroke="{rim}"/>'
        )
        shown = box.name if (SOURCE / box.name).is_dir() else f"{box.name}.py"
        parts.append(_text(box.middle, box.top + 18, shown, 13.5, weight="bold"))
        parts.append(_text(box.middle, box.top + 35, lead(box.name), 11, colour=FAINT))
    return parts


def _imports(boxes: Mapping[str, Box]) -> list[str]:
    drawn = {name: targets & set(boxes) for name, targets in room_imports().items()}
    arrows = [
        (boxes[start], boxes[end])
        for start, ends in thin({name: drawn.get(name, set()) for name in boxes}).items()
        for end in ends
    ]
    arrows.sort(
        key=lambda arrow: (arrow[0].floor, arrow[0].column, arrow[1].column, arrow[1].floor)
    )
    parts = []
    for start, end in arrows:
        from_ = _port(start, end, [b for a, b in arrows if a == start])
        to = _port(end, start, [a for a, b in arrows if b == end])
        path = _path(start, end, from_, to, boxes.values())
        parts.append(
            f'<path d="{path}" fill="none" stroke="{IMPORT}" stroke-width="1.5" '
            'marker-end="url(#import)"/>'
        )
    return parts


def _port(box: Box, other: Box, others: list[Box]) -> int:
    """Where an arrow to or from another box touches a box; one straight up in the middle."""
    order = sorted(others, key=lambda each: (each.middle, each.floor))
    middle = sum(each.middle < box.middle for each in order)
    return box.middle + (order.index(other) - middle) * PORT_STEP


def _path(start: Box, end: Box, from_: int, to: int, boxes: Iterable[Box]) -> str:
    """An arrow from the top of a box to the bottom of one on a floor above, around the others."""
    gap = FLOOR_HEIGHT - BOX_HEIGHT
    between = [box for box in boxes if end.floor < box.floor < start.floor]
    last = end.bottom + 2
    if start.floor - end.floor == 1:
        return f"M{from_} {start.top}{_bend(from_, start.top, to, last)}"
    columns = [FIRST_COLUMN + n * COLUMN_STEP for n in range(3)]
    lanes = [from_, to, *(left + BOX_WIDTH + (COLUMN_STEP - BOX_WIDTH) / 2 for left in columns)]
    free = [
        x for x in lanes if not any(box.left - 4 < x < box.left + BOX_WIDTH + 4 for box in between)
    ]
    lane = min(free, key=lambda x: abs(x - from_) + abs(x - to))
    low, high = start.top - gap, end.bottom + gap
    return (
        f"M{from_} {start.top}{_bend(from_, start.top, lane, low)}V{high}"
        f"{_bend(lane, high, to, last)}"
    )


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    """A curve that leaves and arrives upright."""
    half = (y + to_y) / 2
    return f"C{x:g} {half:g} {to_x:g} {half:g} {to_x:g} {to_y:g}"


def _way(boxes: Mapping[str, Box]) -> list[str]:
    """What is made, each beside the room that makes it, and the arrows between."""
    stages = way()
    middle = GOODS_LEFT + GOODS_WIDTH / 2
    parts, spans = _goods([RAW], boxes["common"].top + BOX_HEIGHT / 2)
    places = {RAW: spans}
    for stage, (goods, _) in stages.items():
        room = boxes[stage]
        y = room.top + BOX_HEIGHT / 2
        pill, places[stage] = _goods(goods, y)
        parts += pill
        parts.append(
            f'<path d="M{room.left - 1} {y:g}H{GOODS_LEFT + GOODS_WIDTH + 2}" stroke="{WAY}" '
            'stroke-width="1.5" stroke-dasharray="2 3" marker-end="url(#way)"/>'
        )
    sources = {stage: taken or {RAW} for stage, (_, taken) in stages.items()}
    for stage, taken in thin(sources).items():
        parts += [
            f'<path d="M{middle:g} {places[source][1]:g}V{places[stage][0] - 2:g}" '
            f'stroke="{WAY}" stroke-width="2.5" marker-end="url(#way)"/>'
            for source in sorted(taken)
        ]
    return parts


def _goods(names: list[str], y: float) -> tuple[list[str], tuple[float, float]]:
    """A pill with what a stage hands on, a line each, and its upper and lower end."""
    lines = [WORDS.get(name, name.replace("_", " ")) for name in names]
    height = max(30, 12 + LINE_HEIGHT * len(lines))
    top = y - height / 2
    pill = (
        f'<rect x="{GOODS_LEFT}" y="{top:g}" width="{GOODS_WIDTH}" height="{height}" rx="15" '
        f'fill="{GOODS}" stroke="{WAY}"/>'
    )
    first = y - (len(lines) - 1) * LINE_HEIGHT / 2 + 4.5
    middle = GOODS_LEFT + GOODS_WIDTH / 2
    words = [_text(middle, first + n * LINE_HEIGHT, line, 12.5) for n, line in enumerate(lines)]
    return [pill, *words], (top, top + height)


def _text(
    x: float,
    y: float,
    text: str,
    size: float,
    anchor: str = "middle",
    weight: str = "normal",
    colour: str = INK,
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{colour}">{escape(text)}</text>'
    )


def _marker(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" '
        f'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
