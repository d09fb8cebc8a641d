"""Who invokes whom, drawn: services as boxes in columns, each column invoking those to its right.

>>> drawn = draw({"orders.create": ["customer.get"], "customer.get": []})
>>> [(box.name, box.column) for box in drawn.boxes]
[('orders.create', 0), ('customer.get', 1)]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEIGHT = 40
ROW = 60
GAP = 90
_CHARACTER = 7.6


@dataclass(frozen=True, slots=True)
class Box:
    """A service: where its box stands."""

    name: str
    column: int
    x: int
    y: int
    width: int

    @property
    def middle(self) -> int:
        """The height that lines come and go at."""
        return self.y + HEIGHT // 2


@dataclass(frozen=True, slots=True)
class Drawn:
    """A whole drawing: its size, its boxes, and each arrow as the path of an SVG."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[tuple[str, str, str], ...]


def draw(invokes: Mapping[str, Sequence[str]]) -> Drawn:
    """The drawing of services by name and the names that each invokes. Those that have to do with no other are left out."""
    edges = sorted({(one, other) for one, others in invokes.items() for other in others if one != other})
    names = sorted({name for edge in edges for name in edge})
    columns = _columns(names, edges)
    width = {c: max(int(len(n) * _CHARACTER) + 32 for n in names if columns[n] == c) for c in set(columns.values())}
    boxes: dict[str, Box] = {}
    rows: dict[int, int] = {}
    x = {}
    left = 12
    for column in sorted(width):
        x[column] = left
        left += width[column] + GAP
    # A service stands near those that invoke it, so that few lines cross.
    for name in sorted(names, key=lambda name: (columns[name], _before(name, edges, boxes), name)):
        column = columns[name]
        row = rows.get(column, 0)
        rows[column] = row + 1
        boxes[name] = Box(name, column, x[column], 12 + row * ROW, width[column])
    arrows = []
    for one, other in edges:
        begin, end = boxes[one], boxes[other]
        if begin.column < end.column:
            x1, x2 = begin.x + begin.width, end.x - 6
            bend = (x2 - x1) // 2
            path = f"M{x1},{begin.middle} C{x1 + bend},{begin.middle} {x2 - bend},{end.middle} {x2},{end.middle}"
        else:  # back to the left: a circle of services
            x1, x2 = begin.x + begin.width, end.x + end.width + 6
            path = f"M{x1},{begin.middle} C{x1 + 60},{begin.middle} {x2 + 60},{end.middle} {x2},{end.middle}"
        arrows.append((one, other, path))
    height = 24 + max(rows.values(), default=0) * ROW
    return Drawn(max(left - GAP + 72, 200), height, tuple(boxes.values()), tuple(arrows))


def _columns(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """How far from the left each stands: one further than whoever invokes it; a circle is entered where it is first met."""
    columns = dict.fromkeys(names, 0)
    after: dict[str, list[str]] = {name: [] for name in names}
    for one, other in edges:
        after[one].append(other)
    callers = {other for _, other in edges}
    for start in [*(name for name in names if name not in callers), *names]:
        stack: list[tuple[str, tuple[str, ...]]] = [(start, (start,))]
        steps = 0
        while stack and steps < 20_000:
            steps += 1
            name, path = stack.pop()
            for other in after[name]:
                if other not in path and columns[other] < columns[name] + 1:
                    columns[other] = columns[name] + 1
                    stack.append((other, (*path, other)))
    return columns


def _before(name: str, edges: Sequence[tuple[str, str]], boxes: Mapping[str, Box]) -> float:
    heights = [boxes[one].y for one, other in edges if other == name and one in boxes]
    return sum(heights) / len(heights) if heights else 0.0
