"""Low-rank changes begin as nothing, train, and become part of the weights."""

from __future__ import annotations

import pytest
import torch

from interp.errors import ModelError
from interp.weights import attach_lora, merge_lora, weights_changed
from tests.identity.architectures import fresh

IDS = torch.tensor([[4, 5, 6, 7]])


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_training_changes_the_chosen_layers_by_a_low_rank(name):
    model = fresh(name)
    before = model.copy()
    plain = before.hf(input_ids=IDS).logits.detach()
    trained = attach_lora(model, [1], rank=2, seed=3)
    assert torch.allclose(model.hf(input_ids=IDS).logits, plain, atol=1e-6)
    assert {id(p) for p in model.hf.parameters() if p.requires_grad} == {id(p) for p in trained}
    optimiser = torch.optim.SGD(trained, lr=0.5)
    for _ in range(2):  # the first step moves B only, since B = 0 keeps A's gradient at zero
        optimiser.zero_grad()
        model.hf(input_ids=IDS, labels=IDS).loss.backward()
        optimiser.step()
    attached = model.hf(input_ids=IDS).logits.detach()
    merge_lora(model)
    assert torch.allclose(model.hf(input_ids=IDS).logits, attached, atol=1e-6)
    assert (attached - plain).abs().max() > 1e-3
    old, new = before.hf.state_dict(), model.hf.state_dict()
    assert set(old) == set(new)
    moved = {n: new[n] - old[n] for n in old if not torch.equal(old[n], new[n])}
    assert moved
    assert all(".1." in n and n.endswith("weight") for n in moved)
    assert all(torch.linalg.matrix_rank(d.double(), tol=1e-5) <= 2 for d in moved.values())
    assert weights_changed(before, model) > 0
    assert all(p.requires_grad for p in model.hf.parameters())


def test_the_seed_decides():
    drawn = [attach_lora(fresh("llama"), [0], 2, seed=s)[0].detach() for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_refusals():
    with pytest.raises(ModelError, match="layer 3"):
        attach_lora(fresh("llama"), [3], 2)
    with pytest.raises(ModelError, match="rank 1"):
        attach_lora(fresh("llama"), [0], 0)


def test_weights_of_another_model_do_not_compare():
    with pytest.raises(ModelError, match="none compare"):
        weights_changed(fresh("llama"), fresh("gpt2"))


def test_tied_weights_count_once():
    model = fresh("gpt2")
    twin = model.copy()
    with torch.no_grad():
        twin.hf.get_input_embeddings().weight[0, :5] += 1
    assert weights_changed(model, twin) == 5
