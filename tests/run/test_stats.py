"""Streaming statistics are those of the rows that `capture` would have kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp import PromptSet, capture, capture_stats, scale
from interp.errors import ActivationError, NonFiniteError, PromptError, TooLargeError
from interp.run.moments import MomentsSink
from interp.sites import Site
from tests.identity.architectures import assert_near, fresh, ragged, shared_model

SITES = "resid_post.0,resid_post.2,q.1.h1"


def labelled(lengths, labels, seed=0):
    return PromptSet.from_tokens(ragged(tuple(lengths), prefix=3, seed=seed), labels=labels)


@given(
    lengths=st.lists(st.integers(1, 12), min_size=2, max_size=8), seed=st.integers(0, 3),
    budget=st.sampled_from([1, 20, 64, 4096]), share=st.booleans(), at=st.sampled_from(["all", "last"]),
    classes=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_moments_are_those_of_the_rows(lengths, seed, budget, share, at, classes):
    model = shared_model("llama")
    labels = [f"class {i % classes}" for i in range(len(lengths))]
    prompts = labelled(lengths, labels, seed)
    got = capture_stats(
        model, prompts, SITES, at=at, by="labels", covariance=True, top_k=2, batch_tokens=budget, share_prefix=share
    )
    acts = capture(model, prompts, SITES, at=at)
    assert got.index == acts.index
    assert got.classes == tuple(sorted(set(labels)))
    row_label = np.array(labels)[acts.index.example]
    for site in acts.sites:
        x = acts[site].tensor().double()
        assert_near(got.mean(site), x.mean(0), f"mean of {site}", 1e-5)
        if len(x) > 1:
            assert_near(got.covariance(site), torch.cov(x.T), f"covariance of {site}", 1e-4)
        for i, name in enumerate(got.classes):
            part = x[torch.from_numpy(row_label == name)]
            assert int(got[site].count[i]) == len(part)
            assert_near(got.mean(site, name), part.mean(0), f"mean of {name} at {site}", 1e-5)
            if len(part) > 1:
                assert_near(got.covariance(site, name), torch.cov(part.T), f"covariance of {name}", 1e-4)
        k = min(2, len(x))
        assert_near(got[site].top_value[:k].double(), x.topk(k, dim=0).values, "top values", 1e-5)
        rows = got[site].top_row[:k]
        assert_near(x.gather(0, rows), x.topk(k, dim=0).values, "rows of the top values", 1e-5)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), offset=st.sampled_from([0.0, 1e3, 1e6]),
    seed=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_merging_is_accurate_far_from_zero(sizes, offset, seed):
    """A mean of a million with a spread of one: sums of squares would have no digit left in float32."""
    torch.manual_seed(seed)
    n, site = sum(sizes), Site("embed")
    x = (torch.randn(n, 3, dtype=torch.float64) + offset).double()
    order = torch.randperm(n)
    sink = MomentsSink({site: 3}, np.arange(n) % 2, 2, covariance=True, top_k=0)
    start = 0
    for size in sizes:
        rows = order[start : start + size]
        sink.put(site, x[rows], rows)
        start += size
    moments = sink.moments()[site]
    for c in (0, 1):
        part = x[c::2]
        assert int(moments.count[c]) == len(part)
        if len(part):
            assert torch.allclose(moments.mean[c], part.mean(0), rtol=1e-13, atol=1e-9)
            centred = part - part.mean(0)
            assert torch.allclose(
                moments.scatter[c], centred.T @ centred, rtol=1e-9, atol=1e-4 if offset > 1e5 else 1e-7
            )


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([True, False, True], (False, True)),
        ([3, 1, 3], (1, 3)),
        ([0.5, 0.25, 0.5], (0.25, 0.5)),
        (["b", "a", "b"], ("a", "b")),
    ],
)
def test_classes_of_every_type(labels, classes):
    prompts = labelled((3, 4, 5), labels)
    got = capture_stats(shared_model("gpt2"), prompts, "resid_post.1", by="labels")
    assert got.classes == classes
    for value in classes:
        rows = np.isin(got.index.example, [i for i, v in enumerate(labels) if v == value])
        x = capture(shared_model("gpt2"), prompts, "resid_post.1")["resid_post.1"][rows]
        assert_near(got.mean("resid_post.1", value), x.double().mean(0), f"mean of {value!r}")


def test_by_groups_columns_and_values():
    prompts = labelled((3, 4, 5), [1, 2, 3]).with_groups(["g", "h", "g"]).with_columns(colour=["red", "blue", "red"])
    model = shared_model("gpt2")
    want = capture_stats(model, prompts, "embed", by="groups")["embed"].mean
    assert torch.equal(capture_stats(model, prompts, "embed", by=["g", "h", "g"])["embed"].mean, want)
    assert torch.equal(capture_stats(model, prompts, "embed", by=np.array([0, 1, 0]))["embed"].mean, want)
    colour = capture_stats(model, prompts, "embed", by="colour")
    assert colour.classes == ("blue", "red")
    assert torch.equal(colour["embed"].mean, want.flip(0))


def test_edits_are_seen():
    prompts = labelled((3, 4), [0, 1])
    model = shared_model("gpt2")
    plain = capture_stats(model, prompts, "resid_post.1").mean("resid_post.1")
    got = capture_stats(model, prompts, "resid_post.1", edits=[scale("resid_post.1", -3.0)]).mean("resid_post.1")
    assert_near(got, -3 * plain, "mean")


def test_top_rows_say_where():
    prompts = PromptSet.from_tokens(ragged((8, 12, 7)))
    model = shared_model("gpt2")
    got = capture_stats(model, prompts, "mlp_post.1", top_k=3)
    x = capture(model, prompts, "mlp_post.1")["mlp_post.1"].tensor()
    for column in (0, 7, 40):
        assert got["mlp_post.1"].top_row[:, column].tolist() == x[:, column].argsort(descending=True)[:3].tolist()
    with pytest.raises(PromptError, match=r"top_k=1000: there are 27 rows"):
        capture_stats(model, prompts, "mlp_post.1", top_k=1000)
    with pytest.raises(PromptError, match="top_k=-1"):
        capture_stats(model, prompts, "mlp_post.1", top_k=-1)


def test_refusals(monkeypatch):
    prompts = PromptSet.from_tokens(ragged((3, 4)))
    model = shared_model("gpt2")
    with pytest.raises(PromptError, match="by='labels': these prompts have no such column"):
        capture_stats(model, prompts, "embed", by="labels")
    with pytest.raises(PromptError, match="by= has 3 values for 2 prompts"):
        capture_stats(model, prompts, "embed", by=[1, 2, 3])
    stats = capture_stats(model, prompts, "embed")
    with pytest.raises(ActivationError, match=r"no statistics of resid_post\.1; sites here: embed"):
        stats["resid_post.1"]
    with pytest.raises(ActivationError, match="pass covariance=True to capture_stats"):
        stats.covariance("embed")
    with pytest.raises(ActivationError, match="no class 'a'; classes here: None"):
        stats.mean("embed", "a")
    one = capture_stats(model, prompts.select([0]), "embed", at="last", covariance=True)
    with pytest.raises(ActivationError, match="needs at least two rows, embed has 1"):
        one.covariance("embed")
    import psutil

    class Memory:
        available = 20_000

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(TooLargeError, match=r"the covariances would take .* kB, but 20.0 kB of memory is free"):
        capture_stats(model, prompts, "resid_post", covariance=True)


def test_nan_is_named():
    model = fresh("gpt2")
    with torch.no_grad():
        model.hf.get_input_embeddings().weight[50] = torch.nan
    prompts = PromptSet.from_tokens([[5, 6], [7, 50, 8]], ids=["good", "bad"])
    with pytest.raises(NonFiniteError, match=r"NaN or infinity at site resid_pre.0, example 'bad', position 1"):
        capture_stats(model, prompts, "resid_pre.0")
