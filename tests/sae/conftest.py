"""Small dictionaries made by hand or trained for a moment, on tiny random models."""

from __future__ import annotations

import functools

import numpy as np
import torch

from interp import PromptSet, capture, testbeds
from interp.models import load_model
from interp.sae import wrap_sae
from interp.sae.library import library, others_warnings
from interp.sites import Site
from tests.circuits.conftest import small  # noqa: F401
from tests.identity.architectures import ragged
from tests.unchecked import unchecked  # noqa: F401

PROMPTS = PromptSet.from_tokens(ragged((6, 11, 3, 9, 7, 12)))


def random_net(width: int, n: int, architecture: str = "standard", *, seed: int = 0, d_out: int | None = None, **cfg):
    """A sae-lens object with random weights, about half of whose latents are on."""
    lens = library()
    classes = {
        "standard": (lens.StandardSAE, lens.StandardSAEConfig), "topk": (lens.TopKSAE, lens.TopKSAEConfig),
        "jumprelu": (lens.JumpReLUSAE, lens.JumpReLUSAEConfig), "gated": (lens.GatedSAE, lens.GatedSAEConfig),
        "transcoder": (lens.Transcoder, lens.TranscoderConfig),
        "skip_transcoder": (lens.SkipTranscoder, lens.SkipTranscoderConfig),
    }  # fmt: skip
    net_class, config = classes[architecture]
    if "transcoder" in architecture:
        cfg |= {"d_out": width if d_out is None else d_out, "apply_b_dec_to_input": False}
    with others_warnings():
        net = net_class(config(d_in=width, d_sae=n, **cfg))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(net.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if "W_" in name else 0.1))
    return net


def random_sae(model, site, n: int = 24, architecture: str = "standard", *, reads=None, seed: int = 0, **cfg):
    """The same as a value for a model, made for it."""
    where = Site.parse(site)
    width = model.resolve(where if reads is None else Site.parse(reads)).width
    net = random_net(width, n, architecture, seed=seed, **cfg)
    return wrap_sae(net, model, site=where, reads=reads, made=model.provenance())


@functools.cache
def induction_acts():
    """The induction bed's streams on random tokens."""
    model = load_model(testbeds.path("induction"))
    rng = np.random.default_rng(0)
    tokens = [rng.integers(2, 60, 12).tolist() for _ in range(40)]
    return capture(model, PromptSet.from_tokens(tokens), "resid_post.0")
