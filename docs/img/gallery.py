"""Draw the pictures of this folder, and the page that shows them: ``python docs/img/gallery.py [KIND ...]``.

Everything is drawn from the small reports in ``docs/img/reports``, without a model, in about a minute. ``measure.py``
makes those reports anew. ``KIND.paper.svg`` is what a paper takes, ``KIND.screen.svg`` what a page shows: it is light
or dark with the reader's system. ``-2`` is the second figure of a kind. ``docs/figures.md`` is written as well.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

from interp import Report, plots
from interp.plots.gallery import FIGURES, Picture, pictures
from interp.plots.inline import inline_svg
from interp.plots.lists import WITHOUT
from interp.plots.themes import DARK, PALETTE
from interp.plots.words import caption

HERE = Path(__file__).parent
REPORTS, PAGE = HERE / "reports", HERE.parent / "figures.md"
# Chapter -> the kinds that it shows.
CHAPTERS = {
    "Probes and directions": ("probe", "probe-grid", "sweep", "direction", "heads", "selection", "selection-test"),
    "Texts and attention": ("tokens", "token-attribution", "attention", "lens", "lens-held-out", "direct-logits"),
    "Steering and ablation": ("steering", "ablation", "side-effects", "condition"),
    "Harmfulness and refusal": (
        "refusal-behaviour", "beliefs", "quadrants", "belief-map", "belief-regression", "inversion", "dissociation",
        "guard", "checkpoints", "boundary", "spread", "spread-pairs",
    ),
    "The refusal cliff": ("cliff", "cliff-heads", "cliff-ablation", "cliff-judge"),
    "Circuits": (
        "circuit-edges", "circuit-nodes", "circuit-neurons", "circuit", "circuit-null", "verification", "minimality",
        "completeness", "task", "retrieval-heads", "retrieval-masks", "conflict-heads", "conflict-pruned",
    ),
    "Latents": ("sae",),
    "Memorisation": (
        "recall", "extraction", "signature", "gap", "transfer", "project-out", "erasure", "curve",
    ),
    "The model itself": ("doctor",),
}  # fmt: skip
# Kinds that no small model here reports -> the kind that is drawn in the same way.
ALIKE = {"circuit-latents": "circuit-neurons", "latents": "sae"}
# Kinds whose second figure shows something else than the first.
SEVERAL = {"attention": 2, "signature": 2, "lens": 2, "belief-map": 2}
INTRO = """\
# Figures

Every kind of report has its figures. `interp.plots.figures(report, theme)` draws them; the commands write them beside
the report as SVG and PDF, and put them into the page. Nothing in a figure is computed: what is drawn stands in the
report.

```python
from interp import Report, plots

report = Report.load("docs/img/reports/probe.json")
plots.export(plots.figure(report, theme="paper"), "probe.pdf")
```

- **paper**: one column (3.3 in) or two (6.75 in) wide, letters of 8 pt, vector SVG and PDF, drawn without a browser.
  Colours are Okabe and Ito's; each series has a dash and a marker of its own as well, so that a greyscale print reads
  the same. The same report gives the same bytes.
- **screen**: the same with titles, larger, and tooltips on the page; light or dark with the reader's system. With
  `plots.export(figure, "figure.html")` it is interactive, offline.

The pictures below are of the shipped models, whose truth is known. `python docs/img/gallery.py` draws them all again
from the reports in `docs/img/reports`; `python docs/img/measure.py WORK` measures those again with the commands named
here. On the left is paper, on the right screen.
"""


def reports() -> dict[str, Report]:
    """The stored reports by kind."""
    return {path.stem: Report.load(path) for path in sorted(REPORTS.glob("*.json"))}


def names(kind: str) -> list[str]:
    """What the pictures of a kind are called."""
    return [kind if n == 1 else f"{kind}-{n}" for n in range(1, SEVERAL.get(kind, 1) + 1)]


def drawn(report: Report) -> dict[str, tuple[Picture, Picture]]:
    """The figures that are shown, by their picture's name: paper and screen."""
    paper, screen = pictures(report, "paper"), pictures(report, "screen")
    return dict(zip(names(report.kind), zip(paper, screen, strict=True), strict=False))


def screen_svg(picture: Picture, report: Report) -> bytes:
    """The figure as pages show it, as a file that is light or dark by itself."""
    svg = inline_svg(picture.figure, f"{picture.name}: {report.title}", "")
    # A picture in a page has no tooltips, and takes its font from the style at its root.
    svg = re.sub(r'<title>.*?</title>|font-family: [^;"]*;? *', "", svg, flags=re.DOTALL).replace(" />", "/>")
    colours = ["".join(f"--fig-{name}:{shade};" for name, shade in palette.items()) for palette in (PALETTE, DARK)]
    style = (
        f"svg{{{colours[0]}font-family:system-ui,sans-serif}}@media(prefers-color-scheme:dark){{svg{{{colours[1]}}}}}"
    )
    size = [float(v) * 96 / 72 for v in re.findall(r'viewBox="0 0 (\S+) (\S+)"', svg)[0]]
    root = f'width="{size[0]:.0f}" height="{size[1]:.0f}" '
    svg = svg.replace("<svg ", f"<svg {root}", 1)
    return re.sub(r"(<svg [^>]*>)", lambda m: f"{m[1]}<style>{style}</style>", svg, count=1).encode() + b"\n"


def draw(report: Report) -> list[Path]:
    """Write the pictures of one report."""
    made = []
    for name, (paper, screen) in drawn(report).items():
        made.append(plots.export(paper.figure, HERE / f"{name}.paper.svg"))
        path = HERE / f"{name}.screen.svg"
        path.write_bytes(screen_svg(screen, report))
        made.append(path)
    return made


def page(stored: dict[str, Report]) -> str:
    """The page of all pictures."""
    parts = [INTRO]
    for chapter, kinds in CHAPTERS.items():
        parts.append(f"\n## {chapter}\n")
        parts += [_section(stored[kind]) for kind in kinds if kind in stored]
    parts += [f"\n`{kind}` is drawn as `{other}` is.\n" for kind, other in ALIKE.items()]
    parts.append("\n## Kinds without a figure\n\nWhat these say is words, or numbers of different units.\n\n")
    parts.append("".join(f"- `{kind}`: {why}.\n" for kind, why in WITHOUT.items()))
    return "".join(parts)


def _section(report: Report) -> str:
    lines = [f"\n### {report.title}\n\n`{report.kind}`: {report.headline}\n"]
    for name, (paper, _) in drawn(report).items():
        alt = html.escape(paper.name)
        lines.append(f"\n![{alt}, paper](img/{name}.paper.svg) ![{alt}, screen](img/{name}.screen.svg)\n")
        if words := caption(report, paper.name):
            lines.append(f"\n{words}\n")
    if report.provenance.command:
        lines.append(f"\n```\n{report.provenance.command}\n```\n")
    return "".join(lines)


if __name__ == "__main__":
    stored = reports()
    if strange := set(sys.argv[1:]) - set(stored):
        sys.exit(f"no stored report of kind {', '.join(sorted(strange))}; kinds: {', '.join(stored)}")
    if missing := set(FIGURES) - set(stored) - set(ALIKE):
        sys.stderr.write(f"no stored report of kind {', '.join(sorted(missing))}\n")
    for kind in sys.argv[1:] or stored:
        for path in draw(stored[kind]):
            sys.stdout.write(f"{path.relative_to(HERE.parent.parent)}\n")
    PAGE.write_text(page(stored), encoding="utf-8")
