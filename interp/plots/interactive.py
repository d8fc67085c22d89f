"""A figure as plotly draws it in a browser, without anything that asks the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Buttons are listed rather than taken as plotly has them: newer versions bring one that uploads the chart.
_CONFIG = {
    "displaylogo": False,
    "displayModeBar": "hover",
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    "responsive": True,
    "showSendToCloud": False,
}


def interactive_div(figure: Figure, name: str) -> str:
    """The figure as a ``<div>`` of that id with its script; the page brings `plotly_js`."""
    import plotly.graph_objects as go

    shown = go.Figure(figure)
    shown.update_layout(paper_bgcolor="rgba(0,0,0,0)", title=None, width=None, autosize=True)
    shown.update_layout(margin={"t": 30})
    return str(
        shown.to_html(
            full_html=False,
            include_plotlyjs=False,
            include_mathjax=False,
            div_id=name,
            default_width="100%",
            config=_CONFIG,
        )
    )


def plotly_js() -> str:
    """Plotly itself, about 5 MB of script."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
