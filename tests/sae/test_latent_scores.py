"""Scores of latents: they sum to the site's, a linear model is exact, and a transcoder of neurons gives neurons."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import testbeds
from interp.circuits import attribute, exact, load_pairs
from interp.circuits.latentscores import LatentScores
from interp.errors import CircuitError
from interp.models import load_model
from tests.circuits.conftest import off, random_pairs, small
from tests.sae.conftest import random_net, random_sae

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
        parts = sum(
            got.values[i] for i in range(len(got.values)) if got.name(i).startswith(f"{site}.l") and got.latent[i] >= 0
        )
        assert parts == pytest.approx(got[f"{site}.latents"], rel=1e-5, abs=1e-7)
        assert parts + got[f"{site}.error"] == pytest.approx(nodes[f"m{layer}"], rel=1e-5, abs=1e-6)
        assert got[f"{site}.whole"] == pytest.approx(nodes[f"m{layer}"], rel=1e-5, abs=1e-6)
    assert abs(got["mlp_out.1.error"]) > 1e-4
    assert abs(got["mlp_out.1.latents"]) > 1e-4
