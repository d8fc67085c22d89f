"""SVG without what no reader sees: comments, line breaks, long names, digits beyond a hundredth of a point."""

from __future__ import annotations

import re

_HIDDEN = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
# Paths and places; never the scale of a letter, which has digits that matter.
_PLACES = re.compile(r'(?<=\s)(?:d|x|y|points)="[^"]*"|translate\([^)]*\)')
_LONG = re.compile(r"-?\d+\.\d{3,}")
# Letters: drawn once, then used by name. And groups that only matplotlib calls by their number.
_LETTER = re.compile(r'<path id="([^"]+)" d="[^"]*" transform="scale\(0\.015625\)"')
_ACROSS = re.compile(r'(<use xlink:href="#g\d+") transform="translate\((-?[\d.]+) 0\)"/>')
_NUMBERED = re.compile(r' id="(?:text|line2d|patch|xtick|ytick|QuadMesh|axes|figure)_\d+"| id="matplotlib\.axis_\d+"')
_BREAKS = re.compile(r"\s*\n\s*")


def slim(svg: bytes) -> bytes:
    r"""The same picture in about two thirds of the bytes.

    >>> slim(b'<svg>\n <path d="M 1.23456 2 L 3.00049 4 "/>\n</svg>')
    b'<svg><path d="M 1.23 2 L 3 4 "/></svg>\n'
    """
    text = _HIDDEN.sub("", svg.decode("utf-8"))
    head, mark, body = text.partition("<svg")
    body = _BREAKS.sub(" ", _PLACES.sub(lambda place: _LONG.sub(_short, place[0]), body))
    body = _NUMBERED.sub("", body)
    short: dict[str, str] = {name: f"g{number}" for number, name in enumerate(dict.fromkeys(_LETTER.findall(body)))}
    if short:
        named = re.compile('(id="|href="#)(' + "|".join(map(re.escape, short)) + ')"')
        body = named.sub(lambda found: f'{found[1]}{short[found[2]]}"', body)
        body = _ACROSS.sub(r'\1 x="\2"/>', body)
    return (head + mark + body.replace("> <", "><").rstrip() + "\n").encode("utf-8")


def _short(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
