from __future__ import annotations

import itertools
import math

import pytest

from interp.errors import ReportError
from interp.plots import accuracy_by_layer, figure, figures, get_theme
from interp.plots.themes import DARK, PALETTE, ROLES, SERIES


def traces(figure):
    """Visible names -> trace."""
    return {t.name: t for t in figure.data if t.name}


def test_what_is_drawn_stands_in_the_report(make_probe):
    report = make_probe(6)
    drawn = traces(accuracy_by_layer(report))
    assert list(drawn["Probe, 95 % CI"].x) == [0, 1, 2, 3, 4, 5]
    assert list(drawn["Probe, 95 % CI"].y) == list(report.column("auc"))
    assert list(drawn["Untrained"].y) == list(report.column("untrained_auc"))
    assert list(drawn["Bag of tokens"].y) == [0.71, 0.71]
    assert list(drawn["Last token"].y) == [0.53, 0.53]
    assert list(drawn["Shuffled, best site"].y) == [0.605, 0.605]
    assert list(drawn["Chance"].y) == [0.5, 0.5]
    assert set(drawn["Shuffled, 95 %"].y) == {0.5, 0.57}
    band = next(t for t in accuracy_by_layer(report).data if t.legendgroup == "result" and t.fill == "toself")
    assert set(report.column("auc_lo")) | set(report.column("auc_hi")) == set(band.y)


def test_the_other_metric(make_probe):
    report = make_probe()
    drawn = accuracy_by_layer(report, "acc")
    assert list(traces(drawn)["Probe, 95 % CI"].y) == list(report.column("acc"))
    assert drawn.layout.yaxis.title.text == "Accuracy"
    assert "Last token" not in traces(drawn)
    assert len(figures(report)) == 2
    assert len(figures(make_probe(bare=True))) == 1


def test_what_is_missing_is_left_out(make_probe):
    drawn = accuracy_by_layer(make_probe(bare=True))
    assert list(traces(drawn)) == ["Probe"]
    assert len(drawn.data) == 1


def test_only_some_rows_have_a_control(make_probe):
    report = make_probe()
    rows = [dict(r) for r in report.rows]
    for row in rows[2:]:
        del row["untrained_auc"], row["untrained_auc_lo"], row["untrained_auc_hi"]
    drawn = traces(accuracy_by_layer(make_probe(rows=rows)))
    assert list(drawn["Untrained"].y)[2:] == [None, None, None]


def test_nan_is_a_gap_and_lonely_intervals_are_whiskers(make_probe):
    rows = [dict(r) for r in make_probe(8).rows]
    for row in (rows[1], rows[4]):
        row.update(auc=math.nan, auc_lo=math.nan, auc_hi=math.nan)
    drawn = accuracy_by_layer(make_probe(rows=rows))
    line = traces(drawn)["Probe, 95 % CI"]
    assert [i for i, y in enumerate(line.y) if y is None] == [1, 4]
    # Layers 0, 2 and 3 are too few for a band; 5 to 7 have one.
    up = [round(e, 3) if e is not None else None for e in line.error_y.array]
    assert up == [0.04, None, 0.04, 0.04, None, None, None, None]
    band = next(t for t in drawn.data if t.legendgroup == "result" and t.fill == "toself")
    assert set(band.x) == {5, 6, 7}


def test_one_site_has_whiskers(make_probe):
    drawn = accuracy_by_layer(make_probe(1))
    assert len(traces(drawn)["Probe, 95 % CI"].error_y.array) == 1
    assert drawn.layout.xaxis.range == (-0.5, 0.5)


def test_no_rows_says_so(make_probe):
    drawn = accuracy_by_layer(make_probe(0))
    assert drawn.layout.annotations[0].text == "no sites in this report"


@pytest.mark.parametrize("theme", ["paper", "screen"])
def test_eighty_layers_have_room_for_their_labels(make_probe, theme):
    drawn = accuracy_by_layer(make_probe(80), theme=theme)
    axis, size = drawn.layout.xaxis, drawn.layout.font.size
    plot = drawn.layout.width - drawn.layout.margin.l - drawn.layout.margin.r
    spacing = plot * (axis.tickvals[1] - axis.tickvals[0]) / (axis.range[1] - axis.range[0])
    assert spacing > max(map(len, axis.ticktext)) * 0.65 * size + 2
    assert axis.tickvals[-1] >= 60


def test_kinds_have_panels_that_share_a_scale(make_probe):
    drawn = accuracy_by_layer(make_probe(4, ("resid_post", "attn_out", "mlp_out")), theme="paper")
    titles = [a.text for a in drawn.layout.annotations]
    assert titles == ["<b>attn_out</b>", "<b>mlp_out</b>", "<b>resid_post</b>"]  # the order of a forward pass
    assert drawn.layout.yaxis.range == drawn.layout.yaxis2.range == drawn.layout.yaxis3.range
    domains = [drawn.layout[f"xaxis{n}"].domain for n in ("", "2", "3")]
    assert all(a[1] < b[0] for a, b in itertools.pairwise(domains))
    shown = [t.name for t in drawn.data if t.name and t.showlegend]
    assert len(shown) == len(set(shown)) == 7


def test_paper_is_as_wide_as_a_column_and_its_text_is_8_points(make_probe):
    one = accuracy_by_layer(make_probe(), theme="paper").layout
    two = accuracy_by_layer(make_probe(5, ("attn_out", "mlp_out")), theme="paper").layout
    assert one.width / 96 == pytest.approx(3.3)
    assert two.width / 96 == pytest.approx(6.75)
    assert one.font.size * 72 / 96 == pytest.approx(8)
    assert accuracy_by_layer(make_probe(), theme="paper", width=500).layout.width == 500


def test_embedding_and_logits_are_the_ends_of_the_stream(make_probe):
    rows = [*make_probe(3).rows, {"site": "embed", "auc": 0.6}, {"site": "logits", "auc": 0.8}]
    drawn = accuracy_by_layer(make_probe(rows=rows))
    assert list(traces(drawn)["Probe, 95 % CI"].x) == [-1, 0, 1, 2, 3]
    axis = drawn.layout.xaxis
    assert dict(zip(axis.tickvals, axis.ticktext, strict=True))[-1] == "embed"
    assert dict(zip(axis.tickvals, axis.ticktext, strict=True))[3] == "logits"
    assert [t.name for t in accuracy_by_layer(make_probe(rows=[{"site": "embed", "auc": 0.6}])).data][-1] == "Probe"


def test_heads_and_marks_are_lines_of_their_own(make_probe):
    rows = [
        {"site": f"z.{layer}.h{head}", "auc": 0.6 + head / 10, "auc_lo": 0.5, "auc_hi": 0.9, "mark": "<i>last</i>"}
        for layer in range(3)
        for head in range(2)
    ]
    drawn = accuracy_by_layer(make_probe(rows=rows))
    names = [t.name for t in drawn.data if t.mode == "lines+markers"]
    assert names == ["head 0, &lt;i&gt;last&lt;/i&gt;", "head 1, &lt;i&gt;last&lt;/i&gt;"]
    assert all(None not in t.error_y.array for t in drawn.data if t.mode == "lines+markers")
    assert drawn.data[-1].x[0] > drawn.data[-2].x[0]  # whiskers stand side by side


def test_too_many_heads_to_tell_apart_are_dots(make_probe):
    rows = [{"site": f"z.{layer}.h{head}", "auc": 0.6 + head / 50} for layer in range(2) for head in range(12)]
    drawn = accuracy_by_layer(make_probe(rows=rows, meta={}))
    assert [(t.name, t.mode) for t in drawn.data] == [("Probe, 12 per layer", "markers")]
    assert "z.0.h10: 0.800" in drawn.data[0].hovertext
    assert len(drawn.data[0].x) == 24


def test_errors_name_what_can_be_drawn(make_probe):
    with pytest.raises(ReportError, match="'probe' or 'direction', not 'doctor'"):
        accuracy_by_layer(make_probe(kind="doctor"))
    with pytest.raises(ReportError, match="kinds with one are: probe"):
        figure(make_probe(kind="letters"))
    with pytest.raises(ReportError, match="it has: auc, acc"):
        accuracy_by_layer(make_probe(), "f1")
    with pytest.raises(ReportError, match=r"it has: auc$"):
        accuracy_by_layer(make_probe(bare=True), "acc")
    with pytest.raises(ReportError, match="row 0: cannot read site"):
        accuracy_by_layer(make_probe(rows=[{"site": "Layer 3", "auc": 0.5}]))
    with pytest.raises(ReportError, match="themes are: paper, screen"):
        accuracy_by_layer(make_probe(), theme="poster")


def _luminance(shade: str) -> float:
    parts = [int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("palette", "page"), [(PALETTE, "#ffffff"), (DARK, "#14171a")])
def test_lines_stand_out_from_the_page(palette, page):
    """WCAG asks 3:1 of graphics and 4.5:1 of text."""
    for style in {s.color for s in (*ROLES.values(), *SERIES)} - {"band"}:
        assert _contrast(palette[style], page) >= 3, style
    assert _contrast(palette["ink"], page) >= 4.5
    assert _contrast(palette["muted"], page) >= 4.5


def test_a_greyscale_print_tells_all_lines_apart(make_probe):
    drawn = [t for t in accuracy_by_layer(make_probe()).data if t.name and t.fill is None]
    looks = [(t.line.dash, t.marker.symbol if "markers" in t.mode else None) for t in drawn]
    assert len(set(looks)) == len(looks) == 6
    assert len({(s.dash, s.symbol) for s in SERIES}) == len(SERIES)


def test_a_theme_can_be_changed(make_probe):
    theme = get_theme("paper").replace(font="Arial")
    assert accuracy_by_layer(make_probe(), theme=theme).layout.font.family == "Arial"
