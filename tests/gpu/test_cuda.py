"""The same numbers on a GPU as on a CPU, through its asynchronous buffers, and at the price of the forward pass."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from interp import (
    Model,
    PromptSet,
    ablate,
    add,
    capture,
    capture_stats,
    forward,
    generate,
    grads,
    load_model,
    patch,
    verify,
)
from interp.errors import NonFiniteError
from tests.identity.architectures import SOME, assert_near, fresh, ragged, shared_model
from tests.models.tiny import checkpoint

PROMPTS = PromptSet.from_tokens([*ragged((3, 5, 1, 9), prefix=12), *ragged((4, 11, 20, 7))])


@pytest.fixture(scope="module", autouse=True)
def exact_matmul():
    """No TF32: the comparisons are about indices and copies, not about rounding."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def on_gpu(name, dtype=None):
    model = fresh(name)
    model.hf.to("cuda", dtype)
    return model


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("options", [{}, {"share_prefix": False}, {"padding_side": "left"}, {"batch_tokens": 32}])
def test_capture(name, options):
    gpu, cpu = on_gpu(name), shared_model(name)
    sites = [s for s in cpu.sites() if s.kind != "pattern"]
    got, want = capture(gpu, PROMPTS, sites, **options), capture(cpu, PROMPTS, sites)
    assert got.index == want.index
    assert gpu.fingerprint == cpu.fingerprint
    for site in sites:
        assert got[site].tensor().device.type == "cpu"
        assert_near(got[site].tensor(), want[site].tensor(), f"{site}", 1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3"])
def test_pattern(name):
    got, want = (capture(m, PROMPTS, "pattern,z") for m in (on_gpu(name), shared_model(name)))
    for site in want.sites:
        assert_near(got[site].tensor(), want[site].tensor(), f"{site}", 1e-4)


def test_bfloat16():
    """Rows are the model's own bf16 numbers, not a rounding of something else."""
    model = on_gpu("llama", torch.bfloat16)
    got = capture(model, PROMPTS, "resid_post", batch_tokens=1, share_prefix=False)
    assert got["resid_post.0"].dtype == torch.bfloat16
    with torch.no_grad():
        for i, tokens in enumerate(PROMPTS.tokens):
            states = model.hf(torch.tensor(tokens)[None].cuda(), output_hidden_states=True).hidden_states
            assert torch.equal(got["resid_post.0"][got.index.example == i], states[1][0].cpu())
    near = capture(model, PROMPTS, "resid_post", dtype="float32")["resid_post.2"].tensor()
    assert_near(near, capture(shared_model("llama"), PROMPTS, "resid_post")["resid_post.2"].tensor(), "bf16", 5e-2)


def test_asynchronous_copies_lose_nothing():
    """Many small passes with large rows: a buffer used again before its copy is done would show."""
    model = on_gpu("llama")
    prompts = PromptSet.from_tokens(ragged(tuple(range(1, 61)) * 8))
    want = capture(model, prompts, "logits,resid_post,mlp_post", batch_tokens=100_000)
    for _ in range(3):
        got = capture(model, prompts, "logits,resid_post,mlp_post", batch_tokens=64)
        for site in want.sites:
            assert_near(got[site].tensor(), want[site].tensor(), f"{site}", 1e-4)


def test_edits_forward_grads_generate_and_statistics():
    gpu, cpu = on_gpu("llama"), shared_model("llama")
    vector, table = torch.randn(32), torch.randn(len(PROMPTS), 32)
    source = capture(cpu, PROMPTS, "resid_pre.2")
    edits = [
        add("resid_pre.1", vector, at="last"), ablate("resid_mid.1", "direction", vector), patch("mlp_out.1", table),
        ablate("q.2.h1", "zero"), patch("resid_pre.2", source, at="last"),
    ]  # fmt: skip
    got, want = (forward(m, PROMPTS, at="all", edits=edits) for m in (gpu, cpu))
    assert_near(got.logits.cpu(), want.logits, "edited logits", 1e-4)
    assert got.fired == want.fired
    got, want = (
        grads(m, PROMPTS, "resid_mid,q,embed", lambda x, e: x[:, 5] * (1 + e), batch_tokens=40) for m in (gpu, cpu)
    )
    for site in want.grads.sites:
        assert_near(got.grads[site].tensor(), want.grads[site].tensor(), f"gradient at {site}", 1e-3)
        assert_near(got.values[site].tensor(), want.values[site].tensor(), f"value at {site}", 1e-4)
    got, want = (generate(m, PROMPTS, 8, edits=edits[:1]) for m in (gpu, cpu))
    assert [t.tolist() for t in got.tokens] == [t.tolist() for t in want.tokens]
    got, want = (capture_stats(m, PROMPTS, "resid_post.1", covariance=True) for m in (gpu, cpu))
    assert_near(got.covariance("resid_post.1"), want.covariance("resid_post.1"), "covariance", 1e-4)


def test_nan_on_the_gpu_is_named():
    model = on_gpu("gpt2")
    with torch.no_grad():
        model.module("transformer.wpe").weight[9, 5] = torch.nan
    with pytest.raises(NonFiniteError, match=r"site resid_pre.0, example '0', position 9"):
        capture(model, PROMPTS, "resid_pre.0")


def test_a_change_on_the_gpu_changes_the_fingerprint():
    model = on_gpu("llama")
    seen = {model.fingerprint}
    weight = model.module("model.norm").weight
    for change in (
        lambda: weight.data.add_(1e-3),
        lambda: weight.data[3].mul_(1.5),
        lambda: setattr(model.cfg, "rms_norm_eps", 1),
    ):
        change()
        assert model.fingerprint not in seen
        seen.add(model.fingerprint)
    assert model.fingerprint in seen


def test_load_and_store(tmp_path):
    path = checkpoint(tmp_path / "tiny")
    for options in ({}, {"device": "cuda"}, {"device_map": "auto"}):
        model = load_model(path, **options)
        assert model.device.type == "cuda"
        assert model.untrained().device.type == "cuda"
    stored = capture(model, PROMPTS, "resid_post", out=tmp_path / "s", shard_bytes=3000, dtype="bfloat16")
    assert verify(tmp_path / "s").ok
    want = capture(load_model(path, device="cpu"), PROMPTS, "resid_post")
    for site in want.sites:
        assert_near(stored[site].tensor().float(), want[site].tensor(), f"{site}", 2e-2)
    # The store does not know the device: another may resume it.
    capture(
        load_model(path, device="cpu"), PROMPTS, "resid_post", out=tmp_path / "s", shard_bytes=3000, dtype="bfloat16"
    )


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_layers_on_several_devices(tmp_path):
    path = checkpoint(tmp_path / "tiny")
    layers = {f"model.layers.{i}": i % 2 for i in range(3)}
    spread = load_model(
        path, device_map={"model.embed_tokens": 0, "model.norm": 1, "model.rotary_emb": 0, "lm_head": 1, **layers}
    )
    sites = [s for s in spread.sites() if s.kind != "pattern"]
    got, want = (capture(m, PROMPTS, sites) for m in (spread, load_model(path, device="cpu")))
    for site in sites:
        assert_near(got[site].tensor(), want[site].tensor(), f"{site}", 1e-4)


def test_memory_does_not_grow_with_the_number_of_batches():
    model = on_gpu("llama")
    peaks = []
    for n in (50, 500):
        torch.cuda.reset_peak_memory_stats()
        capture(model, PromptSet.from_tokens(ragged((30,) * n)), "resid_post", batch_tokens=300)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 1.1 * peaks[0]


def test_throughput_against_the_forward_pass_alone(tmp_path, capsys):
    """Every token of two sites into a store in bf16, against the same batches with nothing kept: at least 90 %."""
    from transformers import AutoModelForCausalLM, GPT2Config

    from interp.run.engine import Engine
    from interp.run.job import make_job
    from interp.run.passes import passes

    hf = AutoModelForCausalLM.from_config(GPT2Config()).to("cuda", torch.bfloat16)
    model = Model.wrap(hf, id="gpt2-small shape")
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(5, 0.6, 4000)), 8, 512).astype(int)
    prompts = PromptSet.from_tokens([rng.integers(0, 50_000, n) for n in lengths])
    sites = "resid_post.5,resid_post.9"

    def forward_only():
        job = make_job(model, prompts, "resid_post.9", "last", (), None, False, False, "right")
        with Engine(model, job.sites, lambda *_: None) as engine:
            engine.run(passes(prompts.tokens, job.index.example, job.index.position, job.schedule))
        torch.cuda.synchronize()

    def to_store(k):
        capture(model, prompts, sites, dtype="bfloat16", out=tmp_path / str(k), share_prefix=False)

    forward_only()
    to_store("warm")
    ratios = []
    for k in range(5):
        start = time.perf_counter()
        forward_only()
        middle = time.perf_counter()
        to_store(k)
        ratios.append((middle - start) / (time.perf_counter() - middle))
    share = float(np.median(ratios))
    with capsys.disabled():
        seconds = middle - start
        print(f"\nforward only {lengths.sum() / seconds:,.0f} tokens/s; into a store at {share:.0%} of it")
    assert share >= 0.9
