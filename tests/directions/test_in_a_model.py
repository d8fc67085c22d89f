"""Erasers inside a forward pass."""

from __future__ import annotations

import numpy as np
import torch

from interp import PromptSet, capture, forward
from interp.directions import erase, fit_leace, fit_mean
from tests.identity.architectures import assert_near, ragged, shared_model

LENGTHS = (6, 11, 3, 9, 5, 8, 7, 4)
PROMPTS = PromptSet.from_tokens(ragged(LENGTHS))
SITE = "resid_post.0"


def fitted(fit):
    model = shared_model("gpt2")
    x = capture(model, PROMPTS, sites=[SITE], at="last")[SITE].tensor()
    labels = np.arange(len(LENGTHS)) % 2
    return model, x, labels, fit(x, labels)


def test_an_eraser_does_in_the_pass_what_it_does_to_rows():
    for fit in (fit_mean, fit_leace):
        model, x, labels, eraser = fitted(fit)
        edit = erase(SITE, eraser, at="last")
        run = forward(model, PROMPTS, at="last", edits=[edit])
        assert list(run.fired.values()) == [len(LENGTHS)]
        inside = capture(model, PROMPTS, sites=[SITE], at="last", edits=[edit])[SITE].tensor()
        assert_near(inside, eraser(x), "rows at the edited site")
        means = [inside[torch.from_numpy(labels == c)].double().mean(0) for c in (0, 1)]
        assert torch.allclose(*means, atol=1e-5)
        plain = forward(model, PROMPTS, at="last")
        assert (run.logits - plain.logits).abs().max() > 1e-3
