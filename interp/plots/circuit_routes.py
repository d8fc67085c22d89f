"""How the lines of a circuit run: upwards, around the boxes between, and side by side where many share a gap."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from .circuit_layout import Layout, Line, Node

_SIDES = {"q": -0.3, "k": 0.0, "v": 0.3}
_BLOCKED, _NEAR, _CROWDED = 1e6, 1.2, 0.35
_STEPS = 9  # points drawn between two rows

# Across and up; curves differ in length.
Curve = tuple[np.ndarray, np.ndarray]


def route(layout: Layout, letter: float) -> list[Curve]:
    """A curve for each line of the layout, the strongest routed first."""
    cell = 0.4 * letter
    grid = np.arange(0.5 * cell, layout.width, cell)
    blocked = np.zeros((len(layout.rows), len(grid)))
    for node in layout.nodes.values():
        away = np.abs(grid - node.x) - node.width / 2
        # A wide or slanted line that only just misses a box touches its corner.
        beside = np.where(away < 0.3 * letter, _BLOCKED, np.where(away < 0.9 * letter, _NEAR, 0.0))
        blocked[node.row] = np.maximum(blocked[node.row], beside)
    used = np.zeros_like(blocked)
    turn = ((grid[:, None] - grid[None, :]) / letter).astype(np.float32) ** 2
    strength = [-abs(float(line.row["score"])) for line in layout.lines]
    curves: dict[int, Curve] = {}
    for i in np.argsort(strength, kind="stable").tolist():
        curves[i] = _curve(layout, layout.lines[i], grid, turn, blocked, used, letter)
    return [curves[i] for i in range(len(layout.lines))]


def _curve(
    layout: Layout, line: Line, grid: Float[np.ndarray, " cell"], turn: Float[np.ndarray, "cell cell"],
    blocked: Float[np.ndarray, "row cell"], used: Float[np.ndarray, "row cell"], letter: float,
) -> Curve:  # fmt: skip
    source, target = layout.nodes[line.source], layout.nodes[line.target]
    half = layout.node_height / 2
    start = source.x + _fan(source, target.x - source.x), source.y + half
    end = target.x + _port(target, line.part, source.x - target.x), target.y - half
    between = list(range(source.row + 1, target.row))
    cost = {row: blocked[row] + _CROWDED * used[row] for row in between}
    xs = _way(start[0], end[0], between, grid, turn, cost, letter)
    for row, x in zip(between, xs, strict=True):
        used[row] += np.exp(-(((grid - x) / (0.5 * letter)) ** 2))
    px = np.array([start[0], *xs, end[0]])
    py = np.array([start[1], *(layout.rows[row] for row in between), end[1]])
    return _smooth(px, py)


def _fan(node: Node, aim: float) -> float:
    """Lines leave a box spread a little towards where they go."""
    return float(np.clip(0.04 * aim, -0.32 * node.width, 0.32 * node.width))


def _port(node: Node, part: str, aim: float) -> float:
    """Queries arrive left, keys in the middle, values right; elsewhere by where they come from."""
    if node.kind == "group":
        return (-0.22 if part == "k" else 0.22) * node.width
    return _SIDES[part] * node.width if part in _SIDES else _fan(node, aim)


def _way(
    start: float, end: float, between: list[int], grid: Float[np.ndarray, " cell"],
    turn: Float[np.ndarray, "cell cell"], cost: dict[int, Float[np.ndarray, " cell"]], letter: float,
) -> list[float]:  # fmt: skip
    """Where to pass each row between: the straightest way through the gaps."""
    if not between:
        return []
    best = ((grid - start) / letter) ** 2 + cost[between[0]]
    back = []
    for row in between[1:]:
        steps = best[:, None] + turn
        back.append(steps.argmin(0))
        best = steps.min(0) + cost[row]
    at = int((best + ((grid - end) / letter) ** 2).argmin())
    found = [at]
    for choices in reversed(back):
        at = int(choices[at])
        found.append(at)
    return [float(grid[i]) for i in reversed(found)]


def _smooth(px: Float[np.ndarray, " knot"], py: Float[np.ndarray, " knot"]) -> Curve:
    """A curve through the points that leaves and arrives upright and never swings past a point."""
    slope = np.diff(px) / np.diff(py)
    inner = np.where(slope[:-1] * slope[1:] > 0, 2 * slope[:-1] * slope[1:] / (slope[:-1] + slope[1:] + 1e-12), 0.0)
    tangent = np.concatenate([[0.0], inner, [0.0]])
    t = np.linspace(0, 1, _STEPS if len(px) > 2 else 16)[:, None]
    rise = np.diff(py)
    a, b, c, d = 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2, t**3 - t**2
    xs = a * px[:-1] + b * rise * tangent[:-1] + c * px[1:] + d * rise * tangent[1:]
    ys = py[:-1] + t * rise
    return xs.T.ravel(), ys.T.ravel()
