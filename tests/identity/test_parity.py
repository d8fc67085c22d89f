"""Captured activations are the numbers of the plain Hugging Face model, at every site, for every architecture."""

from __future__ import annotations

import pytest
import torch

from interp import capture, forward
from interp.errors import SiteError
from interp.sites import SITES, Site
from tests.identity.architectures import ARCHITECTURES, NAMES, assert_near, prompts, reference, shared_model


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(params=["plain", "shared"])
def residuals(request, name):
    """Every residual stream entry, computed in batches with and without shared prefixes."""
    sites = ["embed", "resid_pre", "resid_post", "logits"]
    return capture(shared_model(name), prompts(), sites, batch_tokens=40, share_prefix=request.param == "shared")


def test_residual_streams_are_hidden_states(name, residuals):
    n = shared_model(name).n_layers
    for layer in range(n):
        before = torch.cat([out.hidden_states[layer][0] for out in reference(name)])
        assert_near(residuals[Site("resid_pre", layer)].tensor(), before, f"resid_pre.{layer}")
    for layer in range(n - 1):
        after = torch.cat([out.hidden_states[layer + 1][0] for out in reference(name)])
        assert_near(residuals[Site("resid_post", layer)].tensor(), after, f"resid_post.{layer}")


def test_last_residual_stream_is_the_one_before_the_final_norm(name, residuals):
    model, arch = shared_model(name), ARCHITECTURES[name]
    last = residuals[Site("resid_post", model.n_layers - 1)].tensor()
    normed = torch.cat([out.hidden_states[-1][0] for out in reference(name)])
    with torch.no_grad():
        assert_near(model.module(arch.final_norm)(last), normed, "final norm of the last resid_post")
    assert (last - normed).abs().max() > 0.1, "the last hidden_states entry is past the final norm, this must not be it"
    block, seen = model.module(arch.blocks)[-1], []
    handle = block.register_forward_hook(lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        for tokens in prompts().tokens:
            model.hf(torch.tensor(tokens)[None])
    handle.remove()
    assert_near(last, torch.cat([x.reshape(-1, x.shape[-1]) for x in seen]), "output of the last block")


def test_logits_and_embedding(name, residuals):
    logits = torch.cat([out.logits[0] for out in reference(name)])
    assert_near(residuals["logits"].tensor(), logits, "logits")
    with torch.no_grad():
        embedded = shared_model(name).hf.get_input_embeddings()(torch.from_numpy(residuals.index.token.astype("int64")))
    assert_near(residuals["embed"].tensor(), embedded, "embed")


def test_forward_gives_the_logits_of_the_last_token(name):
    result = forward(shared_model(name), prompts())
    assert_near(result.logits, torch.cat([out.logits[0, -1:] for out in reference(name)]), "forward")
    assert result.index.position.tolist() == [len(t) - 1 for t in prompts().tokens]


def test_kinds_that_exist(name):
    kinds = {site.kind for site in shared_model(name).sites()}
    assert set(SITES) - kinds == ARCHITECTURES[name].missing


@pytest.mark.parametrize("name", [n for n in NAMES if ARCHITECTURES[n].parallel])
def test_parallel_models_say_why_they_have_no_resid_mid(name):
    with pytest.raises(SiteError, match=r"resid_mid.0.*does not exist.*exist here: embed, resid_pre.*parallel"):
        capture(shared_model(name), prompts(), "resid_mid")


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "phi3"])
def test_models_without_one_mlp_hidden_tensor_say_so(name):
    with pytest.raises(SiteError, match="mixture of experts or a fused projection"):
        capture(shared_model(name), prompts(), "mlp_pre.1")
