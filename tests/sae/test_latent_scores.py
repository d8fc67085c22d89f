"""Scores of latents: they sum to the site's, a linear model is exact, and a transcoder of neurons gives neurons."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import forward, testbeds
from interp.circuits import attribute, load_pairs
from interp.circuits.latentexact import exact_latents
from interp.circuits.latentrows import latent_report
from interp.circuits.latentscores import LatentScores
from interp.errors import ArtefactError, CircuitError, ProvenanceError, SaeError, TooLargeError
from interp.models import load_model
from interp.models.hooks import hook_count
from interp.sae import ablate_latents, wrap_sae
from tests.circuits.conftest import off, random_pairs, small
from tests.identity.architectures import shared_model
from tests.sae.conftest import random_net, random_sae
from tests.unchecked import unchecked  # noqa: F401

PAIRS = random_pairs()
METHODS = ["eap", "eap-ig", "eap-ig-act", "clean-corrupted", "atp*", "relp"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_latents_and_error_sum_to_the_node(name, method):
    """At the output of an MLP, which is a node of its own."""
    model = small(name)
    saes = [random_sae(model, "mlp_out.1"), random_sae(model, "mlp_out.2", 40, "topk", k=7)]
    kwargs = {"method": method, "steps": 4, "replicates": 0}
    nodes = attribute(model, PAIRS, level="node", **kwargs)
    got = attribute(model, PAIRS, level="latent", saes=saes, **kwargs)
    for layer in (1, 2):
        site = f"mlp_out.{layer}"
        own = [i for i in range(len(got.values)) if got.sites[got.sae[i]] == site and got.latent[i] >= 0]
        parts = got.values[own].sum()
        assert parts == pytest.approx(got[f"{site}.latents"], rel=1e-5, abs=1e-7)
        assert parts + got[f"{site}.error"] == pytest.approx(nodes[f"m{layer}"], rel=1e-5, abs=1e-6)
        assert got[f"{site}.whole"] == pytest.approx(nodes[f"m{layer}"], rel=1e-5, abs=1e-6)
        assert min(abs(got[f"{site}.error"]), abs(got[f"{site}.latents"])) > 1e-4


@pytest.mark.parametrize("ablation", ["zero", "mean", "mean-position"])
def test_other_ablations_sum_up_as_well(ablation):
    """Under zero the decoder's bias stays, as the bias of attention's output does; take it away to compare."""
    model = small("gpt2")
    sae = random_sae(model, "mlp_out.1")
    sae.net.b_dec.zero_()
    kwargs = {"method": "eap", "replicates": 0, "ablation": ablation}
    node = attribute(model, PAIRS, level="node", **kwargs)["m1"]
    got = attribute(model, PAIRS, level="latent", saes=[sae], **kwargs)
    assert got["mlp_out.1.whole"] == pytest.approx(node, rel=1e-5, abs=1e-6)


def test_a_transcoder_of_relu_neurons_is_its_neurons():
    """Read behind the norm, written at the output: no error, and each latent is a neuron."""
    model = shared_model("opt")
    block = model.hf.model.decoder.layers[1]
    net = random_net(32, 48, "transcoder")
    with torch.no_grad():
        net.W_enc.copy_(block.fc1.weight.T)
        net.b_enc.copy_(block.fc1.bias)
        net.W_dec.copy_(block.fc2.weight.T)
        net.b_dec.copy_(block.fc2.bias)
    sae = wrap_sae(net, model, site="mlp_out.1", reads="mlp_in.1", made=model.provenance())
    for method in ("eap", "eap-ig-act"):
        kwargs = {"method": method, "replicates": 0, "steps": 3}
        neurons = attribute(model, PAIRS, level="neuron", **kwargs)
        got = attribute(model, PAIRS, level="latent", saes=[sae], **kwargs)
        latents = np.array([got[f"mlp_out.1.l{i}"] for i in range(48)])
        assert off(latents, neurons.values[1]) < 1e-4
        assert abs(got["mlp_out.1.error"]) < 1e-4 * np.abs(latents).max()


def test_a_skip_transcoder_has_its_skip_apart():
    model = small("gpt2")
    sae = random_sae(model, "mlp_out.1", 24, "skip_transcoder", reads="mlp_in.1")
    got = attribute(model, PAIRS, level="latent", saes=[sae], method="eap", replicates=0)
    node = attribute(model, PAIRS, level="node", method="eap", replicates=0)["m1"]
    parts = [got[f"mlp_out.1.{name}"] for name in ("latents", "error", "skip")]
    assert sum(parts) == pytest.approx(node, rel=1e-4, abs=1e-6)
    assert min(map(abs, parts)) > 1e-4
    exact = exact_latents(model, PAIRS, [sae], ["mlp_out.1.skip"], replicates=0)
    assert abs(exact["mlp_out.1.skip"]) > 1e-4


def test_a_linear_model_is_exact(tmp_path):
    """Every latent's score is its exact effect, and so are the error's and the site's."""
    model = load_model(testbeds.build("and_gate", tmp_path / "bed", linear=True))
    pairs = load_pairs(tmp_path / "bed" / "pairs.jsonl", model.tokenizer, limit=8)
    sae = random_sae(model, "resid_post.0", 12)
    names = [f"resid_post.0.{n}" for n in (*(f"l{i}" for i in range(12)), "error", "latents", "whole")]
    want = exact_latents(model, pairs, [sae], names, replicates=0)
    for method in ("eap", "eap-ig", "eap-ig-act", "clean-corrupted"):
        got = attribute(model, pairs, level="latent", saes=[sae], method=method, replicates=0)
        assert off(np.array([got[n] for n in names]), np.array([want[n] for n in names])) < 1e-5


@pytest.mark.parametrize("site", ["resid_post.1", "resid_pre.2", "resid_mid.1", "z.1", "embed"])
def test_the_integral_over_a_site_is_the_exact_effect(site):
    """Of the whole site, which an integral over what stands there must give; so the pass starts where it may."""
    model = small("gpt2")
    sae = random_sae(model, site)
    hooks = hook_count(model.hf)
    got = attribute(
        model, PAIRS, level="latent", saes=[sae], method="eap-ig-act", steps=16, rule="gauss", replicates=0
    )  # fmt: skip
    want = exact_latents(model, PAIRS, [sae], [f"{site}.whole", f"{site}.latents", f"{site}.error"], replicates=0)
    assert got[f"{site}.whole"] == pytest.approx(want[f"{site}.whole"], rel=2e-2, abs=2e-4)
    assert abs(want[f"{site}.whole"]) > 1e-3
    assert hook_count(model.hf) == hooks


def test_exact_ablation_is_what_the_edit_does():
    model = small("llama")
    sae = random_sae(model, "resid_post.1", 24, "jumprelu")
    exact = exact_latents(model, PAIRS, [sae], ["resid_post.1.l3", "resid_post.1.l5"], ablation="zero", replicates=0)

    def gap(edits):
        logits = forward(model, PAIRS.clean, edits=edits).logits
        return float((logits[:, 5] - logits[:, 7]).mean())

    for i in (3, 5):
        lost = gap([]) - gap([ablate_latents(sae, [i], "zero")])
        assert exact[f"resid_post.1.l{i}"] == pytest.approx(lost, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("method", ["eap", "eap-ig", "eap-ig-act"])
def test_chunks_change_nothing(method):
    model = small("llama")
    saes = [random_sae(model, "resid_post.0", 200), random_sae(model, "mlp_out.2", 60)]
    kwargs = {"level": "latent", "saes": saes, "method": method, "steps": 3, "replicates": 0}
    whole, parts = attribute(model, PAIRS, **kwargs), attribute(model, PAIRS, max_bytes=450_000, **kwargs)
    plan = parts.origin.details["plan"]
    assert plan["peak"] <= 450_000
    assert plan["columns"] < 9 or plan["pairs"] < 3
    assert whole.sae.tolist() == parts.sae.tolist()
    assert off(parts.values, whole.values) < 1e-5
    with pytest.raises(TooLargeError):
        attribute(model, PAIRS, max_bytes=20_000, **kwargs)


def test_only_latents_that_did_something_are_kept_and_come_back_from_a_file(tmp_path):
    model = small("gpt2")
    sae = random_sae(model, "resid_post.1", 400, "topk", k=3)
    pairs = random_pairs(8)
    got = attribute(model, pairs, level="latent", saes=[sae], method="eap", replicates=50, ranking="signed")
    assert 3 <= (got.latent >= 0).sum() < 400
    silent = next(i for i in range(400) if i not in got.latent[got.latent >= 0])
    assert got[f"resid_post.1.l{silent}"] == 0
    order = got.order()
    assert (np.diff(got.values[order]) <= 0).all()
    assert all(lo <= v <= hi for lo, v, hi in zip(got.lo, got.values, got.hi, strict=True))
    alone = attribute(model, pairs, level="latent", saes=[sae], method="eap", replicates=50, max_bytes=2_000_000)
    assert off(alone.lo, got.lo) < 1e-3, "latents that come up late were zero before"
    got.save(tmp_path / "scores.safetensors")
    back = LatentScores.load(tmp_path / "scores.safetensors")
    assert back.rows() == got.rows()
    assert back.site_rows() == got.site_rows()
    assert (back.ranking, back.saes, back.origin) == (got.ranking, got.saes, got.origin)
    with pytest.raises(ArtefactError):
        LatentScores.load(tmp_path / "nothing")


def test_the_report_checks_itself():
    model = small("llama")
    saes = [random_sae(model, "resid_post.0"), random_sae(model, "resid_post.1", 16)]
    scores = attribute(model, PAIRS, level="latent", saes=saes, replicates=20)
    report = latent_report(model, PAIRS, scores, saes, top=4, sample=5)
    assert report.column("group") == ("top",) * 4 + ("sample",) * 5 + ("whole", "latents", "error") * 2
    assert report.rows[0]["latent"] == scores.rows(1, errors=False)[0]["latent"]
    assert set(report.meta["error_share"]) == {"resid_post.0", "resid_post.1"}
    assert -1 <= report.meta["pearson"] <= 1
    with pytest.raises(CircuitError, match="not those"):
        latent_report(model, PAIRS, scores, saes[::-1])


def test_what_makes_no_sense_is_said(unchecked):  # noqa: F811
    model, other = small("gpt2"), small("llama")
    sae = random_sae(model, "resid_post.1")
    with pytest.raises(CircuitError, match="needs saes"):
        attribute(model, PAIRS, level="latent")
    with pytest.raises(CircuitError, match="level='latent'"):
        attribute(model, PAIRS, saes=[sae])
    with pytest.raises(CircuitError, match=r"two SAEs write at resid_post\.1"):
        attribute(model, PAIRS, level="latent", saes=[sae, sae])
    with pytest.raises((ProvenanceError, SaeError)):
        attribute(other, PAIRS, level="latent", saes=[sae])
    scores = attribute(model, PAIRS, level="latent", saes=[sae], method="eap", replicates=0)
    for name in ("resid_post.0.l1", "resid_post.1.l24", "resid_post.1", "l3"):
        with pytest.raises(CircuitError, match=r"names look like 'resid_post\.1\.l0'"):
            scores[name]
    with pytest.raises(CircuitError, match="skip"):
        exact_latents(model, PAIRS, [sae], ["resid_post.1.skip"])
    with pytest.raises(CircuitError, match="twice"):
        exact_latents(model, PAIRS, [sae], ["resid_post.1.l1", "resid_post.1.l1"])
