"""An eraser folded into weights is the hook edit, and comes off byte for byte."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from interp import PromptSet, forward, load_model
from interp.directions.erasers import Eraser, fit_leace
from interp.errors import ActivationError, ModelError
from interp.run import capture
from interp.weights import fold, stream_edits, stream_sites, weights_changed
from tests.identity.architectures import fresh

fold_module = import_module("interp.weights.fold")  # the package has the function by that name
PROMPTS = PromptSet.from_tokens([[4, 5, 6, 7, 8, 2], [9, 3, 1]])
EXACT = ("gpt2", "llama", "qwen2", "mistral", "gpt_neox", "phi", "opt", "gptj")


def _double(name: str):
    model = fresh(name)
    model.hf.double()
    return model


def _eraser(width: int, rank: int = 3, seed: int = 0, *, offset: bool = True) -> Eraser:
    """An oblique projection with a shift: the most general eraser there is."""
    g = torch.Generator().manual_seed(seed)
    left = torch.randn(width, rank, generator=g, dtype=torch.float64)
    drawn = torch.randn(rank, width, generator=g, dtype=torch.float64)
    right = torch.linalg.solve(drawn @ left, drawn)
    at = torch.randn(width, generator=g, dtype=torch.float64) * offset
    return Eraser(left, right, at, "made up")


@pytest.mark.parametrize("name", EXACT)
def test_folding_is_the_hook_edit(name):
    model = _double(name)
    eraser = _eraser(32)
    edits = stream_edits(model, eraser)
    wanted = forward(model, PROMPTS, at="all", edits=edits).logits
    streams = capture(model, PROMPTS, "resid_post", edits=edits)
    plain = forward(model, PROMPTS, at="all").logits
    before = model.fingerprint
    done = fold(model, eraser)
    assert (forward(model, PROMPTS, at="all").logits - wanted).abs().max() < 1e-5
    assert (plain - wanted).abs().max() > 0.1, "the eraser does nothing, so the test shows nothing"
    folded = capture(model, PROMPTS, "resid_post")
    for site in folded.sites:
        assert (folded[site].tensor() - streams[site].tensor()).abs().max() < 1e-5
        # nothing is left of what was to go
        assert ((folded[site].tensor() - eraser.offset) @ eraser.right.T).abs().max() < 1e-5
    done.undo()
    assert model.fingerprint == before
    head, table = model.hf.get_output_embeddings().weight, model.hf.get_input_embeddings().weight
    assert (head is table) == done.untied == (name in ("gpt2", "opt"))


def test_single_precision_and_a_saved_model(tmp_path):
    model = fresh("gpt2")
    eraser = _eraser(32, rank=1)
    wanted = forward(model, PROMPTS, at="all", edits=stream_edits(model, eraser)).logits
    fold(model, eraser)
    back = load_model(model.save(tmp_path), device="cpu")
    assert back.fingerprint == model.fingerprint
    assert torch.allclose(forward(back, PROMPTS, at="all").logits, wanted, atol=1e-3)


def test_what_reads_the_stream_is_left_alone():
    model = fresh("llama")
    before = model.copy()
    done = fold(model, _eraser(32))
    assert set(done.weights) == {
        "model.embed_tokens.weight",
        *(f"model.layers.{k}.{n}.weight" for k in range(3) for n in ("self_attn.o_proj", "mlp.down_proj")),
    }
    assert done.changed == weights_changed(before, model) == sum(w.numel() for w in done.weights.values())


def test_a_fitted_eraser_leaves_nothing_to_a_linear_probe_at_its_site():
    model = _double("llama")
    tokens = torch.randint(0, 97, (40, 5), generator=torch.Generator().manual_seed(3))
    prompts = PromptSet.from_tokens(tokens.tolist())
    rows = capture(model, prompts, "embed", at="last")["embed"].tensor()
    y = tokens[:, -1] > 48
    assert (rows[y].mean(0) - rows[~y].mean(0)).abs().max() > 0.1
    fold(model, fit_leace(rows, y.numpy()))
    after = capture(model, prompts, "embed", at="last")["embed"].tensor()
    assert (after[y].mean(0) - after[~y].mean(0)).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "olmo2", "bloom"])
def test_a_norm_on_the_way_is_refused_and_nothing_changes(name):
    model = _double(name)
    before = model.fingerprint
    with pytest.raises(ModelError, match="not exact"):
        fold(model, _eraser(32))
    assert model.fingerprint == before


def test_a_mixture_of_experts_is_refused_and_nothing_changes():
    model = _double("mixtral")
    before = model.fingerprint
    with pytest.raises(ModelError, match="not every part"):
        fold(model, _eraser(32))
    assert model.fingerprint == before


def _state(model):
    """Every weight by name, whether the unembedding is the embedding, and what the config says of that."""
    tied = model.hf.get_output_embeddings().weight is model.hf.get_input_embeddings().weight
    weights = {n: w.detach().clone() for n, w in model.hf.named_parameters(remove_duplicate=False)}
    return weights, tied, model.hf.config.tie_word_embeddings


def _same(one, other):
    assert one[1:] == other[1:]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])


class _Twice(torch.nn.Module):
    def forward(self, weight):
        return 2 * weight


def _computed(model):
    torch.nn.utils.parametrize.register_parametrization(model.hf.transformer.h[2].mlp.c_proj, "weight", _Twice())


def _shared(model):
    model.hf.transformer.h[2].mlp.c_proj.weight = model.hf.transformer.h[0].mlp.c_proj.weight


def _whole_numbers(model):
    weight = (100 * model.hf.transformer.h[2].attn.c_proj.weight.detach()).to(torch.int8)
    model.hf.transformer.h[2].attn.c_proj.weight = torch.nn.Parameter(weight, requires_grad=False)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(_computed, "no plain weight"), (_shared, "in two places"), (_whole_numbers, "no plain weight")],
)
def test_a_part_that_cannot_be_folded_is_refused_before_anything_changes(spoil, said):
    model = _double("gpt2")
    spoil(model)
    before = _state(model)
    assert before[1]
    with pytest.raises(ModelError, match=said):
        fold(model, _eraser(32))
    _same(_state(model), before)


@pytest.mark.parametrize("step", ["_untie", "_mapped", "_look", "_check"])
def test_an_interrupt_anywhere_leaves_the_weights_as_they_were(step, monkeypatch):
    model = _double("gpt2")
    before = _state(model)
    own, calls = getattr(fold_module, step), []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == {"_mapped": 5, "_look": 2}.get(step, 1):
            raise KeyboardInterrupt
        return own(*args)

    monkeypatch.setattr(fold_module, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        fold(model, _eraser(32))
    _same(_state(model), before)


def test_an_eraser_of_another_width_is_refused():
    with pytest.raises(ActivationError, match="16 numbers"):
        fold(fresh("llama"), _eraser(16))


def test_sites_of_the_stream():
    assert [str(s) for s in stream_sites(fresh("llama"))][:3] == ["resid_pre.0", "resid_mid.0", "resid_post.0"]
    assert not any(s.kind == "resid_mid" for s in stream_sites(fresh("phi")))
