"""``render``: one plotly figure as SVG, PDF or PNG bytes, the same bytes each time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from .axes import Scale, make_scales, own_axes, style_axis
from .bars import bar_slots, draw_bars
from .canvas import Canvas
from .legend import Entry, add_legend
from .marks import draw_annotation, draw_shape, draw_title
from .slim import slim
from .spec import Spec, get, require_supported
from .style import POINTS, color
from .traces import draw_heatmap, draw_scatter

_INCH = 1 / 96
# Nothing that depends on when or where the figure was made.
_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def render(
    figure: Any,
    format: Literal["svg", "pdf", "png"],
    dpi: float = 300,
    live_text: bool = False,
    width: float | None = None,
) -> bytes:
    """Draw a plotly figure through matplotlib. Equal figures give equal bytes (with one version of matplotlib).

    ``live_text`` leaves SVG text as text, for a page that has its own fonts; otherwise letters are outlines and look
    the same everywhere. ``width`` in CSS pixels replaces the figure's own; ``dpi`` matters to PNG only.

    Raises:
        ReportError: the figure has something that this renderer does not know; the message names it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spec = require_supported(figure)
    width, height = width or get(spec.layout, "width", 700), get(spec.layout, "height", 450)
    out = io.BytesIO()
    with _settings(spec, live_text):
        drawing = Figure(figsize=(width * _INCH, height * _INCH), dpi=1 / _INCH)
        FigureCanvasAgg(drawing)  # measures text; savefig brings its own for each format
        drawing.patch.set_facecolor(color(get(spec.layout, "paper_bgcolor", "#ffffff")))
        _draw(drawing, spec)
        drawing.savefig(out, format=format, metadata=_METADATA[format], dpi=dpi if format == "png" else "figure")
    return slim(out.getvalue()) if format == "svg" else out.getvalue()


@contextmanager
def _settings(spec: Spec, live_text: bool) -> Iterator[None]:
    """Matplotlib as it ships, whatever the user's own settings are."""
    import matplotlib

    ink = color(get(spec.layout, "font.color", "#2a3f5f"))
    ours: dict[Any, Any] = {
        "svg.hashsalt": "interp",
        "svg.fonttype": "none" if live_text else "path",
        "pdf.fonttype": 42,
        "font.family": _fonts(get(spec.layout, "font.family", "DejaVu Sans")),
        "font.size": get(spec.layout, "font.size", 12) * POINTS,
        "text.parse_math": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), ink),
        "axes.xmargin": 0.04,
        "axes.ymargin": 0.06,
        "lines.scale_dashes": False,
        "hatch.linewidth": 0.5,
        "path.simplify": False,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=matplotlib.MatplotlibDeprecationWarning)
        if live_text:  # the page's fonts draw the text; these only measure it
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        shipped: dict[Any, Any] = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")}
        with matplotlib.rc_context({**shipped, **ours}):
            yield


def _fonts(families: str) -> list[str]:
    """The families that this machine has, and at the end the one that matplotlib brings along."""
    from matplotlib.font_manager import fontManager

    wanted = [family.strip(" '\"") for family in families.split(",")]
    here = {"serif", "sans-serif", "monospace", *fontManager.get_font_names()}
    return list(dict.fromkeys([*(family for family in wanted if family in here), "DejaVu Sans"]))


def _draw(drawing: Any, spec: Spec) -> None:
    from matplotlib.transforms import Affine2D

    pairs = list(dict.fromkeys(own_axes(t) for t in spec.traces)) or [("x", "y")]
    panels = {pair: drawing.add_axes((0.1, 0.1, 0.8, 0.8), label=" ".join(pair)) for pair in pairs}
    font = {"size": get(spec.layout, "font.size", 12), "color": get(spec.layout, "font.color", "#2a3f5f")}
    canvas = Canvas(drawing, spec, panels, make_scales(spec), Affine2D(), font)
    canvas.place([get(spec.layout, f"margin.{side}", 8) for side in "lbrt"])
    entries: list[Entry] = []
    for pair, axes in panels.items():
        axes.patch.set_facecolor(color(get(spec.layout, "plot_bgcolor", "#ffffff")))
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
        entries += _draw_traces(axes, spec, pair, canvas.scales)
        for name in pair:
            style_axis(axes, name[0], spec.axes.get(name, {}), canvas.scales.get(name, Scale("linear")), font)
    _match_ranges(spec, panels)
    for shape in spec.shapes:
        draw_shape(canvas, shape)
    for note in spec.annotations:
        draw_annotation(canvas, note)
    canvas.fit(add_legend(canvas, entries), draw_title(canvas))


def _draw_traces(axes: Any, spec: Spec, pair: tuple[str, str], scales: dict[str, Scale]) -> list[Entry]:
    entries: list[Entry] = []
    before = None
    x, y = (scales.get(name, Scale("linear")) for name in pair)
    slots = bar_slots(spec, pair, scales)
    for number, trace in enumerate(spec.traces):
        if own_axes(trace) != pair or get(trace, "visible", True) is not True:
            continue
        order = 2 + number * 0.01
        if trace["type"] == "scatter":
            handles = draw_scatter(axes, trace, (x, y), before, order, f"points-{number}")
            before = trace
        elif trace["type"] == "bar":
            handles = draw_bars(axes, trace, (x, y), slots[number], order)
        else:
            handles = draw_heatmap(axes, trace, x, y, 1)
        entries.append((trace, handles))
    return entries


def _match_ranges(spec: Spec, panels: dict[tuple[str, str], Any]) -> None:
    """Axes that match one another get the widest limits among them."""
    for letter, index in (("x", 0), ("y", 1)):
        groups: dict[str, list[Any]] = {}
        for pair, axes in panels.items():
            groups.setdefault(get(spec.axes.get(pair[index], {}), "matches", pair[index]), []).append(axes)
        for together in groups.values():
            limits = [getattr(axes, f"get_{letter}lim")() for axes in together]
            if len(together) > 1 and all(low < high for low, high in limits):
                for axes in together:
                    getattr(axes, f"set_{letter}lim")(min(low for low, _ in limits), max(high for _, high in limits))
