"""``html_table``: cells as the HTML that a notebook shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool]) -> str:
    """A table for notebooks: text to the left, numbers to the right, long cells broken into lines.

    >>> html_table(["p"], [["< .05"]], [False]).splitlines()[3]
    '<tr><td style="text-align: left">&lt; .05</td></tr>'
    """
    sides = [f' style="text-align: {"right" if number else "left"}"' for number in numeric]

    def line(cells: Sequence[str], tag: str) -> str:
        made = (f"<{tag}{side}>{escape(cell)}</{tag}>" for cell, side in zip(cells, sides, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table>\n<thead>{line(headings, 'th')}</thead>\n<tbody>\n{body}\n</tbody></table>"


def html_report(
    headline: str, warnings: Sequence[str], cells: Sequence[tuple[str, list[str], bool]], more: int = 0
) -> str:
    """A report's first sentence, its warnings, and columns as `table_cells` gives them; ``more`` rows are not shown.

    >>> html_report("Found.", ["few groups"], [("p", ["0.010"], True)]).splitlines()[:2]
    ['<p><b>Found.</b></p>', '<p>Warnings:</p><ul><li>few groups</li></ul>']
    """
    notes = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    parts = [f"<p><b>{escape(headline)}</b></p>"]
    parts += [f"<p>Warnings:</p><ul>{notes}</ul>"] if notes else []
    rows = list(zip(*(column for _, column, _ in cells), strict=True))
    parts += [html_table([head for head, _, _ in cells], rows, [number for _, _, number in cells])] if rows else []
    parts += [f"<p>... and {more} more rows</p>"] if more else []
    return "\n".join(parts)
