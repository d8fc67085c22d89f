"""Relevance patching: its rules by hand, what they conserve, and where they have no meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from interp import testbeds
from interp.circuits import attribute, exact, load_pairs
from interp.circuits.batches import pair_batches
from interp.circuits.metrics import bind
from interp.circuits.observe import gradient_pass
from interp.circuits.steps import CLEAN
from interp.errors import CircuitError, SiteError
from interp.models import load_model
from interp.run.relevance import activations, halves, norms, relevance
from interp.sites import Site
from tests.circuits.conftest import off, random_pairs, small
from tests.identity.architectures import fresh, shared_model

PAIRS = random_pairs()
KNOWN = ("gpt2", "gpt_neox", "llama", "qwen3", "gemma2", "phi3", "olmo2", "opt")


def relevance_of(model, pairs, stream):
    """The stream and its gradient by the rules, patterns held; logit of token 5 less token 7."""
    [batch] = pair_batches(pairs, len(pairs))
    taps = {"x": model.resolve(Site.parse(stream))}
    with relevance(model):
        take, found, value = gradient_pass(
            model, batch, bind("logit_diff", pairs), taps, CLEAN, writes=halves(model), reads=taps,
            secants=dict.fromkeys(range(model.n_layers)),
        )  # fmt: skip
    return take.reads["x"], found["x"], value[0]


@pytest.mark.parametrize("name", KNOWN)
def test_values_stay_what_they_are_bit_for_bit(name):
    model = fresh(name)
    ids = torch.tensor(np.stack(PAIRS.clean.tokens))
    plain = model.hf(ids).logits
    with relevance(model):
        assert torch.equal(model.hf(ids).logits, plain)
    assert not any("forward" in vars(m) for m in model.hf.modules())


@pytest.mark.parametrize("stream", ["resid_pre.0", "resid_pre.1", "resid_post.2"])
def test_relevance_is_conserved_from_layer_to_layer(stream):
    """Without biases every rule hands on exactly what it gets: the sum is the metric at each depth, tokens and all."""
    x, g, value = relevance_of(shared_model("llama"), PAIRS, stream)
    assert off((x * g).sum((1, 2)), value) < 1e-5
    model = shared_model("llama")
    [batch] = pair_batches(PAIRS, len(PAIRS))
    taps = {"x": model.resolve(stream)}
    take, found, value = gradient_pass(model, batch, bind("logit_diff", PAIRS), taps, CLEAN, reads=taps)
    assert off((take.reads["x"] * found["x"]).sum((1, 2)), value[0]) > 1e-2  # the plain gradient does not


@pytest.mark.parametrize("name", ["gemma2", "qwen3", "phi3", "olmo2"])
def test_relevance_is_conserved_behind_other_norms_and_gates(name):
    model = fresh(name, **({"final_logit_softcapping": None} if name == "gemma2" else {}))
    x, g, value = relevance_of(model, PAIRS, "resid_pre.0")
    assert off((x * g).sum((1, 2)), value) < 1e-5


def test_a_gated_mlp_by_hand():
    """x -> W_o (silu(W_g x) * W_u x): each factor's own rule, half of the product each, a norm whose scale is held."""
    model = shared_model("llama")
    _, g_out, _ = relevance_of(model, PAIRS, "resid_post.2")
    x, got, _ = relevance_of(model, PAIRS, "resid_mid.2")
    block = model.hf.model.layers[2]
    mlp, norm = block.mlp, block.post_attention_layernorm
    with torch.no_grad():
        root = (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
        normed = x / root * norm.weight
        gate, up = normed @ mlp.gate_proj.weight.T, normed @ mlp.up_proj.weight.T
        at_product = g_out @ mlp.down_proj.weight / 2
        at_gate = at_product * up * functional.silu(gate) / gate
        at_up = at_product * functional.silu(gate)
        behind = at_gate @ mlp.gate_proj.weight + at_up @ mlp.up_proj.weight
        want = g_out + behind * norm.weight / root
    assert off(got, want) < 1e-5


def test_a_plain_mlp_by_hand():
    model = small("gpt2")
    _, g_out, _ = relevance_of(model, PAIRS, "resid_post.2")
    x, got, _ = relevance_of(model, PAIRS, "resid_mid.2")
    block = model.hf.transformer.h[2]
    with torch.no_grad():
        middle = x - x.mean(-1, keepdim=True)
        root = (middle.square().mean(-1, keepdim=True) + block.ln_2.eps).sqrt()
        pre = block.mlp.c_fc(middle / root * block.ln_2.weight + block.ln_2.bias)
        at_act = g_out @ block.mlp.c_proj.weight.T
        at_pre = at_act * block.mlp.act(pre) / pre
        back = at_pre @ block.mlp.c_fc.weight.T * block.ln_2.weight / root
        want = g_out + back - back.mean(-1, keepdim=True)
    assert off(got, want) < 1e-5


def test_edges_meet_the_same_gradient_as_their_node():
    """Heads' gradients are pulled back to the stream by the held norm, not by its derivative."""
    for name in ("gpt2", "llama", "gemma2"):
        nodes = attribute(small(name), PAIRS, method="relp", level="node", replicates=0)
        edges = attribute(small(name), PAIRS, method="relp", replicates=0)
        assert off(nodes.values, edges.values.sum(1)) < 2e-5
        assert off(attribute(small(name), PAIRS, method="eap", replicates=0).values, edges.values) > 1e-2


def test_patterns_are_held_in_relp_and_not_in_relp_qk():
    held, free = (attribute(small("llama"), PAIRS, method=m, replicates=0) for m in ("relp", "relp-qk"))
    for part in ("q", "k"):
        columns = held.graph.targets_of(1, part)
        assert not held.values[:, columns].any()
        assert np.abs(free.values[:, columns]).max() > 1e-3
    assert np.abs(held.values[:, held.graph.targets_of(1, "v")]).max() > 1e-3


def test_a_linear_model_is_exact(tmp_path):
    model = load_model(testbeds.build("and_gate", tmp_path / "bed", linear=True))
    pairs = load_pairs(tmp_path / "bed" / "pairs.jsonl", model.tokenizer, limit=8)
    want = exact(model, pairs, replicates=0)
    for method in ("relp", "relp-qk"):
        assert off(attribute(model, pairs, method=method, replicates=0).values, want.values) < 1e-5


def test_neurons_and_spans_and_chunks():
    model = small("llama")
    whole = attribute(model, PAIRS, method="relp", level="neuron", replicates=0)
    mlps = attribute(model, PAIRS, method="relp", level="node", replicates=0)
    # A neuron's relevance is that of its product, which the gates' half-rule does not touch: they sum to their MLP.
    assert off(whole.values.sum(1), [mlps[f"m{i}"] for i in range(3)]) < 1e-5
    parts = attribute(model, PAIRS, method="relp", replicates=0, max_bytes=300_000)
    assert off(parts.values, attribute(model, PAIRS, method="relp", replicates=0).values) < 1e-5


def test_parts_that_the_rules_do_not_speak_of_are_refused(unchecked):
    run = {"method": "relp", "replicates": 0}
    with pytest.raises(CircuitError, match=r"no rule for the MLP of layer 0 .* mixture of experts"):
        attribute(shared_model("mixtral"), PAIRS, **run)
    with pytest.raises(SiteError, match="outside transformers' attention interface"):
        attribute(shared_model("gptj"), PAIRS, **run)
    model = fresh("gpt2")
    model.hf.transformer.h[1].mlp.act = torch.nn.Sigmoid()
    with pytest.raises(CircuitError, match=r"Sigmoid of layer 1 is 0\.5 at 0"):
        attribute(model, PAIRS, **run)
    with pytest.raises(CircuitError, match="its gradient is zero"):
        attribute(small("gpt2"), PAIRS, "kl", **run)
    assert len(norms(small("gemma2"))) == 13
    assert len(activations(small("gemma2"))) == 3
