"""A direction taken out of the weights is the direction taken out by hooks, and nothing else is."""

from __future__ import annotations

import pytest
import torch

from interp.directions import Direction
from interp.directions.ablation import ablation_edits, ablation_sites, eraser_of
from interp.errors import ModelError
from interp.prompts import PromptSet
from interp.run import capture, forward, generate
from interp.weights import fold
from tests.identity.architectures import fresh

PROMPTS = PromptSet.from_tokens([[4, 5, 6, 7, 8, 2], [9, 3, 1]])


def double(name):
    model = fresh(name)
    model.hf.double()
    return model


def direction(model, seed=0):
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Direction.of(vector, "resid_pre.1", "t_post", "by hand", model.provenance())


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "gpt_neox"])
def test_weights_and_hooks_agree(name):
    """GPT-2: learned positions, biases, a tied unembedding. Llama: neither. OPT: an offset of positions. GPT-NeoX:
    attention and MLP in parallel."""
    model = double(name)
    one = direction(model)
    edits = ablation_edits(model, one)
    wanted = forward(model, PROMPTS, at="all", edits=edits).logits
    assert (forward(model, PROMPTS, at="all").logits - wanted).abs().max() > 0.1, "it would do nothing"
    words = generate(model, PROMPTS, max_new_tokens=4, edits=edits)
    before = model.fingerprint
    done = fold(model, eraser_of(one))
    assert (forward(model, PROMPTS, at="all").logits - wanted).abs().max() < 1e-5
    assert [t.tolist() for t in generate(model, PROMPTS, max_new_tokens=4).tokens] == [t.tolist() for t in words.tokens]
    written = capture(model, PROMPTS, [*ablation_sites(model), "embed"])
    for site in written.sites:
        if site.kind != "resid_pre" or site.layer == 0:
            assert one(written[site].tensor()).abs().max() < 1e-5, f"{site} still writes the direction"
    done.undo()
    assert model.fingerprint == before


@pytest.mark.parametrize("name", ["gemma2", "olmo2"])
def test_post_norms_cannot_be_folded_but_hooks_do_it(name):
    """A norm after the output matrix scales each number by itself, which brings the direction back."""
    model = double(name)
    one = direction(model)
    before = model.fingerprint
    with pytest.raises(ModelError, match="not exact"):
        fold(model, eraser_of(one))
    assert model.fingerprint == before
    stream = capture(model, PROMPTS, "resid_post", edits=ablation_edits(model, one))
    assert all(one(stream[site].tensor()).abs().max() < 1e-9 for site in stream.sites)


def test_ablation_at_every_write_leaves_nothing_to_read():
    model = double("llama")
    one = direction(model)
    stream = capture(model, PROMPTS, "resid_pre,resid_mid,resid_post", edits=ablation_edits(model, one))
    assert all(one(stream[site].tensor()).abs().max() < 1e-9 for site in stream.sites)
    half = capture(model, PROMPTS, "resid_post", edits=ablation_edits(model, one)[:1])
    assert one(half["resid_post.2"].tensor()).abs().max() > 0.1, "one place alone is not enough"


def test_length_does_not_matter_and_sites_can_be_given():
    model = double("gpt2")
    one = direction(model)
    sites = ablation_sites(model)
    a = forward(model, PROMPTS, edits=ablation_edits(model, one)).logits
    b = forward(model, PROMPTS, edits=ablation_edits(model, -7 * one.unit, sites=sites)).logits
    assert torch.allclose(a, b, atol=1e-10)


def test_the_eraser_remembers_where_it_is_from(tmp_path):
    model = double("llama")
    eraser = eraser_of(direction(model))
    assert eraser.rank == 1
    assert eraser.provenance == model.provenance()
    assert dict(eraser.settings) == {"site": "resid_pre.1", "mark": "t_post"}
    eraser.save(tmp_path / "e.safetensors")
    assert type(eraser).load(tmp_path / "e.safetensors", model.fingerprint).rank == 1
