"""``image``: a figure as a still picture that a notebook shows anywhere, also where no script runs."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .gallery import figures
from .static import render
from .static.style import plain
from .themes import PX_PER_INCH, Theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Image:
    """A PNG with the size, in CSS pixels, at which it should be shown. A notebook draws it by itself."""

    title: str
    width: int
    height: int
    png: bytes = field(repr=False)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.png, {"width": self.width, "height": self.height}


def image(
    shown: Report | Figure,
    number: int = 1,
    *,
    theme: str | Theme = "screen",
    width: float | None = None,
    scale: float = 1.5,
) -> Image:
    """The main figure of a report, or any figure of `figure` and `figures`, as a picture for a notebook.

    A plotly figure needs a script wherever it is read; this one is part of the notebook, some twenty kilobytes.

    Args:
        number: which of the report's figures, from 1, in the order of `figures`.
        theme: of a report's figure.
        width: in CSS pixels, where it should not be the figure's own.
        scale: dots for each CSS pixel.

    Raises:
        ReportError: there is no such figure, or it cannot be drawn without a browser.

    >>> from interp.provenance import Provenance
    >>> row = {"site": "resid_post.3", "auc": 0.934, "auc_lo": 0.9, "auc_hi": 0.961}
    >>> made = image(Report("probe", "Number of the subject", "H.", [row], Provenance("a1", "tiny")))
    >>> made.width, made.png[1:4]
    (720, b'PNG')
    """
    drawn: Any = shown
    if isinstance(shown, Report):
        every = figures(shown, theme)
        if not 1 <= number <= len(every):
            raise ReportError(f"this {shown.kind!r} report has figures 1 to {len(every)}, not {number}")
        drawn = every[number - 1]
    layout = drawn.layout
    title = shown.title if isinstance(shown, Report) else plain(layout.title.text or "Figure")[0]
    size = (width or layout.width or 700, layout.height or 450)
    png = _small(render(drawn, "png", dpi=scale * PX_PER_INCH, width=width))
    return Image(title, round(size[0]), round(size[1]), png)


def _small(png: bytes) -> bytes:
    """The same picture in 256 colours, which is all that lines and letters need: a third of the bytes."""
    from PIL import Image as Pillow

    out = io.BytesIO()
    with Pillow.open(io.BytesIO(png)) as full:
        few = full.convert("RGB").quantize(256, Pillow.Quantize.MEDIANCUT, kmeans=2, dither=Pillow.Dither.NONE)
        few.save(out, "png", optimize=True)
    return out.getvalue()
