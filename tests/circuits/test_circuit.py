"""Graphs, circuits and how they are chosen; path patching against edges and against plain edits."""

from __future__ import annotations

import numpy as np
import pytest

from interp import capture, forward
from interp.circuits import Circuit, Graph, Pairs, attribute, exact, greedy, path_patch, top_edges
from interp.circuits.evaluation import SHARES, area
from interp.circuits.scores import EdgeScores, Origin
from interp.edits import Edit
from interp.errors import CircuitError
from interp.provenance import Provenance
from interp.sites import Site
from tests.circuits.conftest import off, random_pairs, small, tokens

PAIRS = random_pairs()
SMALL = Graph(n_layers=2, n_heads=2, n_kv_heads=1, parallel=(False, True))


def scores_of(graph, values, **more):
    """Scores made by hand."""
    origin = Origin("eap", "logit_diff", "resample", 1.0, 0.0, 1)
    return EdgeScores(graph, np.where(graph.legal, values, 0.0), origin, Provenance("m", "m"), **more)


def test_names_and_places():
    assert SMALL.sources == ("input", "a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1")
    assert SMALL.targets == (
        "a0.h0<q>", "a0.h1<q>", "a0.kv0<k>", "a0.kv0<v>", "m0",
        "a1.h0<q>", "a1.h1<q>", "a1.kv0<k>", "a1.kv0<v>", "m1", "logits",
    )  # fmt: skip
    # The second block is parallel: its heads do not reach its MLP.
    assert SMALL.reach == (1, 1, 1, 1, 3, 4, 4, 4, 4, 4, 7)
    assert SMALL.n_edges == SMALL.legal.sum() == sum(SMALL.reach)
    for row, column in np.argwhere(SMALL.legal).tolist():
        assert SMALL.place(SMALL.edge(row, column)) == (row, column)
    assert [SMALL.part_of(i)[:2] for i in (1, 2, 4, 8, 10)] == [(0, "q"), (0, "k"), (0, "mlp"), (1, "v"), (2, "logits")]
    expanded = Graph(2, 2, 1, (False, True), expand_kv=True)
    assert expanded.targets[2:6] == ("a0.h0<k>", "a0.h1<k>", "a0.h0<v>", "a0.h1<v>")
    assert SMALL.node_of(SMALL.targets.index("a1.kv0<k>")) == "a1.h0"
    for wrong, message in (
        ("a1.h0->m1", "m1 comes before a1.h0"), ("a0.h0->a1.h0<k>", "no target 'a1.h0<k>'"),
        ("embed->m0", "no source 'embed'"), ("input", "no arrow in it"),
    ):  # fmt: skip
        with pytest.raises(CircuitError, match=message):
            SMALL.place(wrong)


def test_pruning_leaves_paths_from_the_input_to_the_logits():
    edges = ["input->a0.h1<q>", "a0.h1->a1.kv0<v>", "a1.h1->logits", "a0.h0->m0", "m0->logits", "input->m1"]
    circuit = Circuit.of(SMALL, edges)
    # a0.h0 shares its keys with nobody who is fed; m1 reaches nothing; m0 hears of nothing but a0.h0.
    assert circuit.pruned().names == ("input->a0.h1<q>", "a0.h1->a1.kv0<v>", "a1.h1->logits")
    assert circuit.pruned().nodes == ("input", "a0.h1", "a1.h0", "a1.h1", "logits")
    assert circuit.complement().n_edges == SMALL.n_edges - 6
    assert circuit.without("m0->logits").n_edges == 5
    with pytest.raises(CircuitError, match="is not in this circuit"):
        circuit.without("input->logits")


def test_greedy_hangs_together():
    values = np.zeros(SMALL.legal.shape)
    for edge, value in {"a1.h0->logits": 1.0, "m0->a1.h0<q>": 0.5, "input->m0": 0.4, "input->a0.h0<q>": 9.0}.items():
        values[SMALL.place(edge)] = value
    assert set(greedy(scores_of(SMALL, values), 3).names) == {"a1.h0->logits", "m0->a1.h0<q>", "input->m0"}
    assert "input->a0.h0<q>" in top_edges(scores_of(SMALL, values), 3).names


def test_stability_is_the_overlap_with_what_resampling_chooses():
    values = np.zeros(SMALL.legal.shape)
    values[0, 10], values[1, 10] = 2.0, 1.0
    flat = values[SMALL.legal]
    same, other = flat.copy(), flat.copy()
    other[np.argmax(other == 1.0)] = 0.0
    other[-1] = 1.5  # another edge in second place in half of the replicates
    draws = np.stack([same, other]).astype(np.float32)
    circuit = top_edges(scores_of(SMALL, values, draws=draws), 2)
    assert circuit.about["stability"] == pytest.approx((1 + 1 / 3) / 2)
    assert circuit.frequency[SMALL.place("a0.h0->logits")] == 0.5
    assert circuit.frequency[SMALL.place("input->logits")] == 1.0


def test_areas_are_those_of_the_benchmark():
    """CPR and CMD: trapezoids over the benchmark's shares, as its own code sums them."""
    shares, curve = np.array(SHARES), np.linspace(0.2, 1.2, len(SHARES))
    cpr = sum((b - a) * (f + g) / 2 for a, b, f, g in zip(shares, shares[1:], curve, curve[1:], strict=False))
    gaps = np.abs(1 - curve)
    cmd = sum((b - a) * (f + g) / 2 for a, b, f, g in zip(shares, shares[1:], gaps, gaps[1:], strict=False))
    assert area(curve, shares) == pytest.approx(cpr)
    assert area(gaps, shares) == pytest.approx(cmd)
    assert area(np.ones((3, len(SHARES))), shares).tolist() == pytest.approx([0.999] * 3)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_a_direct_path_is_an_edge(name):
    model = small(name)
    kv = "h0" if name == "gpt2" else "kv0"
    for receiver in ("logits", f"a2.{kv}<k>", "m1"):
        got = path_patch(model, PAIRS, senders=["a0.h1", "input"], receivers=[receiver], replicates=0)
        edges = [f"a0.h1->{receiver}", f"input->{receiver}"]
        want = exact(model, PAIRS, edges=edges, replicates=0)
        assert got.values == pytest.approx([want[e] for e in edges], abs=2e-5)
        assert got.per_pair.mean(1) == pytest.approx(got.values, abs=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_paths_through_mlps(name):
    """Heads frozen, MLPs computing: against plain edits that put the clean attention back."""
    from tests.identity.architectures import shared_model

    model = shared_model(name)
    # With heads frozen only the last token's own stream reaches the answer, so that is where the pairs must differ.
    ids, changed = tokens(PAIRS)
    changed[:, -1] = (ids[:, -1] + 1) % 97
    n = len(PAIRS)
    pairs = Pairs.from_tokens(ids.tolist(), changed.tolist(), answers=[[5]] * n, wrong=[[7]] * n)
    clean, other = (capture(model, p, "attn_out,resid_pre.0") for p in (pairs.clean, pairs.corrupted))

    def put(site, acts):
        rows = acts[site].tensor().reshape(len(pairs), -1, model.d_model)
        return Edit(Site.parse(site), lambda x, where: rows[where.example, where.pos])

    edits = [put("resid_pre.0", other), *(put(f"attn_out.{i}", clean) for i in range(3))]
    logits = forward(model, pairs.clean, edits=edits).logits
    plain = forward(model, pairs.clean).logits
    want = ((plain[:, 5] - plain[:, 7]) - (logits[:, 5] - logits[:, 7])).mean()
    got = path_patch(model, pairs, senders=["input"], freeze_mlp=False, replicates=0)
    assert got["input"] == pytest.approx(float(want), abs=2e-5)
    frozen = path_patch(model, pairs, senders=["input"], replicates=0)
    assert frozen["input"] != pytest.approx(float(want), abs=1e-3)


def test_path_patching_refuses_what_cannot_be():
    model = small("gpt2")
    for kwargs, message in (
        ({"senders": ["a9.h0"]}, "no node 'a9.h0'"),
        ({"senders": ["m0"], "receivers": ["a0.h0"]}, "no target 'a0.h0'"),
        ({"senders": ["m2"], "receivers": ["a1.h0<q>"]}, "comes after every receiver"),
        ({"senders": []}, "needs a sender and a receiver"),
    ):
        with pytest.raises(CircuitError, match=message):
            path_patch(model, PAIRS, **kwargs)
    together = path_patch(model, PAIRS, senders=[("a2.h0", "a2.h1")], replicates=0)
    alone = path_patch(model, PAIRS, senders=["a2.h0", "a2.h1"], replicates=0)
    assert together[("a2.h0", "a2.h1")] != pytest.approx(alone["a2.h0"])


def test_scores_by_span_say_where_an_edge_is_read_and_used():
    model = small("llama")
    spans = {"front": ([[0, 3]] * 3, [[0, 3]] * 3), "back": ([[6, 9]] * 3, [[6, 9]] * 3)}
    from interp.circuits import Pairs

    plain = random_pairs()
    pairs = Pairs.from_tokens(
        [t.tolist() for t in plain.clean.tokens], [t.tolist() for t in plain.corrupted.tokens], answers=[[5]] * 3,
        wrong=[[7]] * 3, spans=spans,
    )  # fmt: skip
    for kwargs in ({"method": "eap"}, {"steps": 2}):
        scores = attribute(model, pairs, by_span=True, replicates=0, **kwargs)
        assert scores.spans == ("front", "back", "other")
        assert off(scores.by_span.sum((0, 1)), scores.values) < 1e-5
        assert off(attribute(model, pairs, replicates=0, **kwargs).values, scores.values) < 1e-6
        front, back = 0, 1
        assert not scores.by_span[back, front].any()  # nothing read later is used earlier
        assert np.abs(scores.by_span[front, back]).max() > 1e-4
        across = scores.by_span[front, back].any(0)
        used = [SUFFIX for SUFFIX, any_ in zip(scores.graph.targets, across, strict=True) if any_]
        assert used  # only keys and values are read at one token and used at another
        assert all(name.endswith(("<k>", "<v>")) for name in used)


def test_a_key_and_value_for_every_query_head():
    model = small("llama")
    grouped, each = (attribute(model, PAIRS, method="eap", expand_kv=e, replicates=0) for e in (False, True))
    assert each.graph.targets[4:8] == tuple(f"a0.h{i}<k>" for i in range(4))
    assert each.provenance.model == grouped.provenance.model
    for part in "kv":
        whole = grouped.values[:, grouped.graph.targets_of(1, part)]
        parts = each.values[:, each.graph.targets_of(1, part)]
        assert off(parts.reshape(len(parts), 2, 2).sum(-1), whole) < 1e-5
    one = exact(model, PAIRS, edges=["input->a1.h2<k>"], expand_kv=True, replicates=0)
    both = exact(model, PAIRS, edges=["input->a1.kv1<k>"], replicates=0)
    assert one["input->a1.h2<k>"] != pytest.approx(both["input->a1.kv1<k>"], abs=1e-4)
