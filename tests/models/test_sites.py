"""From what a user writes to sites, and what is said about sites that do not exist."""

from __future__ import annotations

import pytest

from interp import Site
from interp.errors import SiteError
from tests.identity.architectures import shared_model

MODEL = "llama"


def texts(sites):
    return [str(s) for s in sites]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("resid_post", ["resid_post.0", "resid_post.1", "resid_post.2"]),
        ("resid_post.-1", ["resid_post.2"]),
        ("z.-3.h1", ["z.0.h1"]),
        ("mlp_out.1, resid_post.0", ["resid_post.0", "mlp_out.1"]),
        (["logits", Site("embed"), "resid_pre.1", "resid_pre.1"], ["embed", "resid_pre.1", "logits"]),
        (Site("q", 2, 3), ["q.2.h3"]),
        (("attn_out",), ["attn_out.0", "attn_out.1", "attn_out.2"]),
    ],
)
def test_expand(written, meant):
    assert texts(shared_model(MODEL).expand(written)) == meant


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("resid_out", "unknown site kind 'resid_out'; kinds are: embed, resid_pre, q"),
        ("resid_post.3", r"'resid_post.3': this model has layers 0 to 2"),
        ("resid_post.-4", r"cannot read site 'resid_post.-4'"),
        ("k.0.h2", r"'k.0.h2': 'k' has heads 0 to 1 in this model"),
        ("q.0.h4", r"'q.0.h4': 'q' has heads 0 to 3"),
        ("resid_post.0.h1", "'resid_post' has no heads; sites with heads are: q, k, v, pattern, z"),
        ("embed.0", "'embed' has no layer"),
        ("pattern.0.h1", r"read 'pattern.0' whole and pick the head"),
        ("resid_post.01", "cannot read site"),
        ("", "cannot read site ''"),
        ([], "no sites given; write, say, 'resid_post'"),
        ("resid_post,,embed", "cannot read site ''"),
    ],
)
def test_what_does_not_exist(written, message):
    with pytest.raises(SiteError, match=message):
        shared_model(MODEL).expand(written)


def test_sites_by_kind():
    model = shared_model(MODEL)
    assert texts(model.sites("z")) == ["z.0", "z.1", "z.2"]
    assert texts(model.sites(["logits", "embed"])) == ["embed", "logits"]
    with pytest.raises(SiteError, match="unknown site kind 'residual'; kinds in this model: embed, "):
        model.sites("residual")
    with pytest.raises(SiteError, match="attention and MLP run in parallel"):
        shared_model("phi").sites("resid_mid")


def test_widths_are_those_of_the_rows():
    from interp import capture
    from tests.identity.architectures import NAMES, prompts

    for name in NAMES:
        model = shared_model(name)
        sites = [s for s in model.sites() if s.kind != "pattern"]
        acts = capture(model, prompts(), sites, at="last")
        for site in sites:
            assert acts[site].shape == (len(prompts()), model.resolve(site).width), (name, site)
