"""Reading, refusing, editing and training: what is saved comes back, and a known dictionary is found."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pytest
import torch

from interp import PromptSet, Provenance, capture
from interp.errors import NonFiniteError, ProvenanceError, SaeError
from interp.sae import (
    ablate_latents,
    load_sae,
    loss_recovered,
    pca_basis,
    reconstruct,
    reconstruction,
    save_sae,
    set_latents,
    train_sae,
    wrap_sae,
)
from interp.sae.hooknames import hook_of, site_of
from interp.sae.library import library
from interp.sites import SITES, Site
from interp.store import Activations, Examples, RowIndex
from tests.circuits.conftest import small
from tests.sae.conftest import PROMPTS, random_net, random_sae
from tests.unchecked import unchecked  # noqa: F401


def rows(x: torch.Tensor, per_example: int = 10) -> Activations:
    """Rows as if they were a model's, so many to an example."""
    n = len(x)
    index = RowIndex.build(np.arange(n) // per_example, np.arange(n) % per_example, np.zeros(n, int))
    examples = Examples(ids=tuple(str(i) for i in range(-(-n // per_example))))
    return Activations.from_tensors({"resid_post.0": x}, index, Provenance("f00d", "synthetic"), examples)


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu", "gated"])
def test_what_is_saved_comes_back_and_sae_lens_reads_it(architecture, tmp_path):
    model = small("gpt2")
    sae = random_sae(model, "resid_post.1", 24, architecture, **({"k": 5} if architecture == "topk" else {}))
    sae.net.cfg.metadata.hook_name = hook_of(sae.site)
    save_sae(sae, tmp_path)
    back = load_sae(tmp_path, model)
    assert (back.site, back.fingerprint, back.made) == (sae.site, sae.fingerprint, sae.made)
    x = capture(model, PROMPTS, "resid_post.1")["resid_post.1"].tensor()
    theirs = library().SAE.load_from_disk(tmp_path)
    assert torch.allclose(theirs(x), back.reconstruct(x), atol=1e-5)
    assert torch.allclose(back.reconstruct(x) + back.error(x), x, atol=1e-6)
    assert torch.equal(back.encode(x), sae.encode(x))
    with pytest.raises(ProvenanceError, match="was made with model"):
        load_sae(tmp_path, small("llama"))


def test_a_file_that_does_not_say_its_model_is_told(tmp_path):
    model = small("gpt2")
    net = random_net(32, 24)
    net.cfg.metadata.hook_name, net.cfg.metadata.model_name = "blocks.1.hook_resid_post", "gpt2-xl"
    net.save_model(tmp_path)
    with pytest.warns(UserWarning, match=r"does not say which weights.*gpt2-xl"):
        assert load_sae(tmp_path, model).made is None
    wide = random_net(48, 24)
    with pytest.raises(SaeError, match=r"reads 48 numbers, but resid_post\.1 .* is 32 wide"):
        wrap_sae(wide, model, site="resid_post.1", made=model.provenance())


def test_heads_are_flat_and_one_head_has_its_own():
    model = small("gpt2")
    net = random_net(32, 24, reshape_activations="hook_z")
    sae = wrap_sae(net, model, site="z.1", made=model.provenance())
    x = capture(model, PROMPTS, "z.1")["z.1"].tensor()
    assert torch.allclose(sae.reconstruct(x) + sae.error(x), x, atol=1e-6)
    one = random_net(8, 12)
    one.cfg.metadata.hook_name, one.cfg.metadata.hook_head_index = "blocks.1.attn.hook_z", 2
    assert wrap_sae(one, model, made=model.provenance()).site == Site.parse("z.1.h2")


def test_hook_names_and_sites_agree():
    for kind, spec in SITES.items():
        site = Site(kind, 3 if spec.layered else None)
        if kind in ("pattern", "logits"):
            with pytest.raises(SaeError, match="no hook name"):
                hook_of(site)
        else:
            assert site_of(hook_of(site)) == site
    with pytest.raises(SaeError, match=r"mlp_in\.4.*resid_mid\.4"):
        site_of("blocks.4.ln2.hook_normalized")
    with pytest.raises(SaeError, match="has no site here"):
        site_of("blocks.4.attn.hook_rot_q")


def test_a_norm_behind_the_branch_is_no_mistake_of_ours():
    """In Gemma what the MLP gives is not what it adds; TransformerLens' mlp_out is the latter."""
    model = small("gemma2")
    net = random_net(32, 12)
    net.cfg.metadata.hook_name = "blocks.1.mlp.hook_out"
    with pytest.raises(SaeError, match="before the norm that stands behind it"):
        wrap_sae(net, model, made=model.provenance())
    net.cfg.metadata.hook_name = "blocks.1.hook_mlp_out"
    assert wrap_sae(net, model, made=model.provenance()).site == Site.parse("mlp_out.1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalize_activations": "layer_norm"}, "latents do not add up"),
        ({"normalize_activations": "expected_average_only_in"}, "fold_activation_norm_scaling_factor"),
        ({"architecture": "temporal"}, "supported are"),
        ({"d_sae": 7}, "cannot read the SAE"),
        (None, "cannot read"),
        ("cfg.json", "holds no cfg.json"),
        ("sae_weights.safetensors", "holds no sae_weights.safetensors"),
    ],
)
def test_files_that_cannot_be_used_say_why(change, message, tmp_path):
    model = small("gpt2")
    save_sae(random_sae(model, "resid_post.1"), tmp_path)
    file = tmp_path / "cfg.json"
    if isinstance(change, str):
        (tmp_path / change).unlink()
    else:
        file.write_text("{" if change is None else json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(SaeError, match=message):
        load_sae(tmp_path, model, site="resid_post.1")


def test_without_sae_lens_the_fix_is_named(monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "sae_lens")
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("sae_lens"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(SaeError, match=r"pip install 'interp\[sae\]'"):
        library()


def test_setting_latents_keeps_all_else():
    model = small("llama")
    sae = random_sae(model, "resid_post.1")
    plain = capture(model, PROMPTS, "resid_post.1")["resid_post.1"].tensor()
    latents = sae.encode(plain)
    edited = capture(model, PROMPTS, "resid_post.1", edits=[set_latents(sae, {3: 2.0, 7: 0.0})])
    change = edited["resid_post.1"].tensor() - plain
    want = (2.0 - latents[:, [3]]) * sae.decoder[3] - latents[:, [7]] * sae.decoder[7]
    assert torch.allclose(change, want, atol=1e-5)
    mean = latents.mean(0)
    edited = capture(model, PROMPTS, "resid_post.1", edits=[ablate_latents(sae, [5], "mean", mean)])
    change = edited["resid_post.1"].tensor() - plain
    assert torch.allclose(change, (mean[5] - latents[:, [5]]) * sae.decoder[5], atol=1e-5)


def test_a_transcoder_is_edited_by_what_it_read():
    model = small("llama")
    sae = random_sae(model, "mlp_out.1", 24, "transcoder", reads="mlp_in.1")
    source = capture(model, PROMPTS, "mlp_in.1,mlp_out.1")
    edit = ablate_latents(sae, [2, 9], "zero", source=source)
    got = capture(model, PROMPTS, "mlp_out.1", edits=[edit])["mlp_out.1"].tensor()
    latents = sae.encode(source["mlp_in.1"].tensor())[:, [2, 9]]
    assert torch.allclose(source["mlp_out.1"].tensor() - got, latents @ sae.decoder[[2, 9]], atol=1e-5)
    with pytest.raises(SaeError, match=r"reads at mlp_in\.1, which an edit"):
        set_latents(sae, {1: 0.0})


def test_edits_that_mean_nothing_are_refused(unchecked):  # noqa: F811
    model = small("llama")
    sae = random_sae(model, "resid_post.1")
    for values, message in (({24: 1.0}, "0 to 23"), ({}, "no latent"), ({1: float("nan")}, "finite")):
        with pytest.raises(SaeError, match=message):
            set_latents(sae, values)
    with pytest.raises(SaeError, match="needs value"):
        ablate_latents(sae, [1], "mean")
    with pytest.raises(SaeError, match="one of 'zero', 'mean'"):
        ablate_latents(sae, [1], "noise")
    with pytest.raises(SaeError, match="twice"):
        ablate_latents(sae, [1, 1], "zero")


def planted(n: int = 6000, d: int = 16, features: int = 24, seed: int = 0):
    """Rows that are sparse sums of known directions about an offset."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(features, d, generator=generator), dim=1)
    on = torch.rand(n, features, generator=generator) < 2 / features
    size = 1 + torch.rand(n, features, generator=generator)
    return directions, (on * size) @ directions + 0.5


def likeness(decoder: torch.Tensor, directions: torch.Tensor) -> float:
    """Mean over true directions of the cosine of the nearest decoder row."""
    unit = torch.nn.functional.normalize(decoder, dim=1)
    return float((directions @ unit.T).max(1).values.mean())


def test_a_planted_dictionary_is_found():
    """And not in the same rows with their coordinates shuffled, nor by a dictionary of random directions."""
    from interp.sae import shuffled

    directions, x = planted()
    acts = rows(x)
    options = {"n_latents": 32, "k": 2, "steps": 800, "batch": 256, "lr": 3e-3, "progress": False}
    trained = train_sae(acts, "resid_post.0", **options)
    null = train_sae(shuffled(acts, "resid_post.0"), "resid_post.0", **options | {"steps": 200})
    chance = likeness(torch.randn(32, 16, generator=torch.Generator().manual_seed(1)), directions)
    found = likeness(trained.sae.decoder, directions)
    assert found > 0.93
    assert max(chance, likeness(null.sae.decoder, directions)) < 0.8
    fidelity = reconstruction(trained.sae, acts, rows=trained.held_out)
    assert fidelity.explained.value > 0.7
    assert fidelity.explained.low < fidelity.explained.value < fidelity.explained.high
    assert fidelity.l0.value == pytest.approx(2, abs=0.2)
    pca = reconstruction(pca_basis(acts["resid_post.0"], trained.train, 2), acts, "resid_post.0", rows=trained.held_out)
    assert pca.explained.value < 0.5
    assert trained.curve[-1]["loss"] < 0.5 * trained.curve[0]["loss"]


def test_training_is_the_same_for_a_seed_from_memory_or_store_and_leaves_the_dice_alone(tmp_path):
    model = small("llama")
    acts = capture(model, PROMPTS, "resid_post.1")
    capture(model, PROMPTS, "resid_post.1", out=tmp_path / "store")
    options = {"n_latents": 16, "steps": 12, "batch": 8, "progress": False}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = train_sae(acts, "resid_post.1", k=3, **options)
    two = train_sae(tmp_path / "store", "resid_post.1", k=3, **options)
    assert torch.equal(torch.get_rng_state(), before)
    other = train_sae(acts, "resid_post.1", k=3, seed=1, **options)
    assert one.sae.fingerprint == two.sae.fingerprint != other.sae.fingerprint
    examples = acts.index.example
    assert not set(examples[one.train]) & set(examples[one.held_out])
    ours = {"site": one.sae.site, "model": one.sae.made.model}
    assert ours == {"site": Site.parse("resid_post.1"), "model": model.fingerprint}
    save_sae(one.sae, tmp_path / "sae")
    assert load_sae(tmp_path / "sae", model).fingerprint == one.sae.fingerprint
    relu = train_sae(acts, "resid_post.1", l1=0.1, **options).sae
    assert torch.allclose(relu.decoder.norm(dim=1), torch.ones(16), atol=1e-5)


def test_what_cannot_be_trained_is_said():
    x = planted(200)[1]
    for settings, message in (
        ({"k": 2, "l1": 1.0}, "one of the two"), ({}, "one of the two"), ({"k": 40}, "cannot have k=40"),
        ({"k": 2, "held_out": 0.0}, "between 0 and 1"), ({"l1": -1.0}, "positive"),
    ):  # fmt: skip
        with pytest.raises(SaeError, match=message):
            train_sae(rows(x), "resid_post.0", n_latents=32, steps=2, batch=8, progress=False, **settings)
    x[3, 1] = float("nan")
    with pytest.raises(NonFiniteError, match="check_finite"):
        train_sae(rows(x), "resid_post.0", n_latents=8, k=2, steps=2, batch=8, progress=False)
    with pytest.raises(SaeError, match="these rows are of 1"):
        train_sae(rows(x[:8]), "resid_post.0", n_latents=8, k=2, steps=2, batch=8, progress=False)
    with pytest.raises(NonFiniteError, match="lower the rate"):
        train_sae(rows(planted(200)[1]), "resid_post.0", n_latents=8, k=2, lr=1e30, steps=40, batch=8, progress=False)


def test_loss_recovered_ends_at_the_model_and_at_the_mean():
    """A basis of all directions is the model, one of none the mean; special tokens are left alone."""
    model = small("gpt2")
    prompts = PromptSet.from_tokens(PROMPTS.tokens, special=[[True] + [False] * (len(t) - 1) for t in PROMPTS.tokens])
    acts = capture(model, prompts, "resid_post.1")
    use = np.flatnonzero(~acts.index.special)
    full, none = (pca_basis(acts["resid_post.1"], use, k) for k in (32, 0))
    found = loss_recovered(model, prompts, [full, none], "resid_post.1", none.mean)
    assert found.share[0].value == pytest.approx(1, abs=1e-3)
    assert found.share[1].value == pytest.approx(0, abs=1e-6)
    edited = capture(model, prompts, "resid_post.1", edits=[reconstruct(none, site="resid_post.1", spare=prompts)])
    x = edited["resid_post.1"].tensor()
    first = np.flatnonzero(acts.index.special)
    assert torch.equal(x[first], acts["resid_post.1"][first])
    assert torch.allclose(x[use.copy()], none.mean.expand(len(use), -1), atol=1e-6)
