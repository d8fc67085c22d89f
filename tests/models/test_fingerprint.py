"""The fingerprint follows the weights and the config, and nothing else."""

from __future__ import annotations

import pytest
import torch

from interp import Model, PromptSet, capture
from tests.identity.architectures import NAMES, SOME, fresh, hf_model, shared_model

PROMPTS = PromptSet.from_tokens([[4, 5, 6, 7, 8]])


def in_place(model):
    with torch.no_grad():
        model.module("model.layers.1.mlp.up_proj").weight[3, 4] += 1e-3


def through_data(model):
    model.module("model.layers.1.mlp.up_proj").weight.data[3, 4] += 1e-3


def data_replaced(model):
    weight = model.module("model.layers.1.mlp.up_proj").weight
    weight.data = weight.data + 1e-3


def parameter_replaced(model):
    module = model.module("model.layers.1.mlp.up_proj")
    module.weight = torch.nn.Parameter(module.weight.detach() + 1e-3)


def rows_swapped(model):
    weight = model.module("model.layers.1.mlp.up_proj").weight.data
    weight[[0, 1]] = weight[[1, 0]]


def config_changed(model):
    model.cfg.rms_norm_eps = 1e-3


def dtype_changed(model):
    model.hf.double()


CHANGES = [in_place, through_data, data_replaced, parameter_replaced, rows_swapped, config_changed, dtype_changed]


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_weights_or_config_changes_it(change):
    model = fresh("llama")
    before = model.fingerprint
    assert model.fingerprint == before
    change(model)
    assert model.fingerprint != before
    assert capture(model, PROMPTS, "embed").provenance.model == model.fingerprint


def test_the_last_bit_of_a_weight_counts():
    model = fresh("llama")
    before = model.fingerprint
    with torch.no_grad():
        weight = model.module("model.layers.1.mlp.up_proj").weight
        weight[3, 4] = torch.nextafter(weight[3, 4], weight[3, 4] + 1)
    assert model.fingerprint != before


def test_running_does_not_change_it():
    model = fresh("gpt2")
    before = model.fingerprint
    capture(model, PROMPTS, model.sites())
    model.hf(torch.tensor([[4, 5]]), output_hidden_states=True)
    model.hf.config.use_cache = False
    model.hf.requires_grad_(False)
    model.hf.set_attn_implementation("eager")
    assert model.fingerprint == before


def test_two_seeds_and_two_architectures_differ():
    assert len({shared_model(n).fingerprint for n in NAMES}) == len(NAMES)
    assert Model.wrap(hf_model("llama", seed=1)).fingerprint != shared_model("llama").fingerprint
    assert Model.wrap(hf_model("llama")).fingerprint == shared_model("llama").fingerprint


@pytest.mark.parametrize("name", SOME)
def test_untrained(name):
    model = shared_model(name)
    before = torch.random.get_rng_state()
    one, again, other = model.untrained(0), model.untrained(0), model.untrained(1)
    assert torch.equal(torch.random.get_rng_state(), before), "it draws from the user's generator"
    assert one.fingerprint == again.fingerprint
    assert len({one.fingerprint, other.fingerprint, model.fingerprint}) == 3
    assert one.sites() == model.sites()
    assert one.sizes == model.sizes
    acts = capture(one, PROMPTS, "resid_post.1")["resid_post.1"].tensor()
    assert (acts - capture(model, PROMPTS, "resid_post.1")["resid_post.1"].tensor()).abs().max() > 0.1
    assert acts.isfinite().all()
    tied = model.hf.get_output_embeddings().weight is model.hf.get_input_embeddings().weight
    assert (one.hf.get_output_embeddings().weight is one.hf.get_input_embeddings().weight) is tied
    assert not one.hf.training
    assert "untrained, seed 0" in one.id


def test_untrained_keeps_dtype_and_attention():
    model = fresh("llama")
    model.hf.bfloat16()
    one = model.untrained()
    assert one.dtype == torch.bfloat16
    assert one.cfg._attn_implementation == model.cfg._attn_implementation
