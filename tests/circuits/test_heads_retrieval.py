"""Retrieval heads: the planted copy head ranks first and is needed, decoys are not, and nothing is found in nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interp import PromptSet, forward, generate, load_model, testbeds
from interp.circuits.headtokens import with_span
from interp.circuits.masks import MASKS, head_means, mask_heads
from interp.circuits.retrieval import copy_share, find_retrieval, in_needle
from interp.circuits.retrieval_report import RetrievalSettings, retrieval_reports
from interp.errors import CircuitError
from interp.prompts import load_prompts
from interp.run import capture
from interp.sites import Site

COPIER, HELPER, LOOKER, OWN = Site("z", 1, 2), Site("z", 0, 3), Site("z", 1, 1), Site("z", 1, 0)


@pytest.fixture(scope="module")
def model():
    return load_model(testbeds.path("needle"))


@pytest.fixture(scope="module")
def prompts(model):
    path = testbeds.path("needle") / "haystacks.jsonl"
    return with_span(model, load_prompts(path, model.tokenizer, limit=16), "needle", "needle")


@pytest.fixture(scope="module")
def found(model, prompts):
    return find_retrieval(model, prompts)


@pytest.fixture(scope="module")
def reports(model, prompts):
    use = RetrievalSettings(top=1, shuffles=60, draws=3, bootstrap=200)
    return retrieval_reports(model, prompts, use)


def test_spans_are_where_the_needles_stand(model, prompts):
    for tokens, span, needle in zip(prompts.tokens, prompts.spans["needle"], prompts.columns["needle"], strict=True):
        assert model.tokenizer.decode(tokens[slice(*span)]) == needle


def test_the_planted_copy_head_ranks_first_and_the_decoys_do_not(found):
    scores = dict(zip(found.heads, found.scores().mean(0), strict=True))
    assert scores[COPIER] == 1
    assert max(s for h, s in scores.items() if h != COPIER) <= 0.6 + 1e-9  # the looker, on 48 of 80 steps
    looks = dict(zip(found.heads, in_needle(found).mean(0), strict=True))
    assert looks[OWN] > 0.7  # at the needle at nearly every step,
    assert scores[OWN] == 0  # and never at what is written


def test_scores_are_those_of_a_plain_count(model, prompts, found):
    """One prompt, step by step, from attention that is captured anew."""
    new = generate(model, prompts.select([3]), 5).tokens[0]
    tokens = np.concatenate([prompts.tokens[3], new])
    start, stop = prompts.spans["needle"][3]
    acts = capture(model, PromptSet.from_tokens([tokens[:-1]]), ["pattern.1"])
    pattern = acts["pattern.1"].tensor().reshape(len(tokens) - 1, 4, -1)
    for head in range(4):
        copied = set()
        for step, written in enumerate(new):
            at = int(pattern[len(prompts.tokens[3]) - 1 + step, head].argmax())
            if start <= at < stop and tokens[at] == written:
                copied.add(int(written))
        number = found.heads.index(Site("z", 1, head))
        assert found.scores()[3, number] == pytest.approx(len(copied) / len(set(tokens[start:stop].tolist())))


def test_masking_the_copy_head_drops_copying_and_random_heads_do_not(model, prompts):
    prompts = prompts.select(slice(6))
    means = head_means(model, prompts)

    def share(mode, *heads):
        edits = mask_heads(model, prompts, heads, mode, means=means)
        return copy_share(prompts, generate(model, prompts, 5, edits=edits)).mean()

    for mode in MASKS:
        assert share(mode, COPIER) < 0.1, mode
        for idle in ([LOOKER, OWN], [Site("z", 0, 0), Site("z", 1, 3)]):
            assert share(mode, *idle) > 0.99, (mode, idle)


def test_of_the_other_heads_only_the_helper_is_needed(model, prompts):
    """Prints what docs/methods/attention-heads.md says of each head alone."""
    means, left = head_means(model, prompts), {}
    for mode in MASKS:
        for head in (Site("z", layer, h) for layer in range(2) for h in range(4)):
            edits = mask_heads(model, prompts, [head], mode, means=means)
            left[mode, head] = copy_share(prompts, generate(model, prompts, 5, edits=edits)).mean()
        print(mode, {str(head): round(float(share), 3) for (m, head), share in left.items() if m == mode})
    others = [head for _, head in left if head not in (COPIER, HELPER)]
    assert min(left[mode, head] for mode in MASKS for head in others) > 0.99
    assert max(left["zero_z", HELPER], left["mean_z", HELPER]) < 0.1
    assert left["true_mask", HELPER] > left["zero_z", HELPER]


def test_the_report_finds_the_head_and_judges_it_on_other_prompts(reports):
    heads, masks = reports["retrieval-heads"], reports["retrieval-masks"]
    assert heads.rows[0]["part"] == str(COPIER)
    assert heads.rows[0]["p_max"] < 0.05
    assert heads.rows[0]["n"] + masks.rows[0]["n"] == 16
    assert [row["mask"] for row in masks.rows] == list(MASKS)
    assert all(row["before"] == 1 and row["after"] < 0.1 and row["beyond_hi"] < 0 for row in masks.rows)


def test_nothing_is_found_in_an_untrained_model(model, prompts):
    use = RetrievalSettings(shuffles=40, draws=3, bootstrap=200, masks=("zero_z",))
    made = retrieval_reports(model.untrained(0), prompts.select(slice(16)), use)
    assert not made["retrieval-heads"].meta["found"]
    assert any("nothing masked" in w for w in made["retrieval-masks"].warnings)


def test_the_masks_do_what_they_say(model, prompts):
    few = prompts.select(slice(2))
    length, (start, stop) = len(few.tokens[0]), few.spans["needle"][0]

    def pattern(mode):
        acts = capture(model, few, ["pattern.1"], edits=mask_heads(model, few, [COPIER], mode))
        return acts["pattern.1"].tensor()[:length].reshape(length, 4, -1)

    plain = capture(model, few, ["pattern.1"])["pattern.1"].tensor()[:length].reshape(length, 4, -1)
    even = pattern("uniform_causal")
    assert np.allclose(even[5, 2, :6], 1 / 6)
    assert even[5, 2, 6:].abs().max() == 0
    blind = pattern("true_mask")
    assert blind[:, 2, start:stop].abs().max() == 0
    assert np.allclose(blind[:, 2].sum(-1), 1, atol=1e-5)
    for changed in (even, blind):
        assert np.array_equal(changed[:, [0, 1, 3]], plain[:, [0, 1, 3]])


def test_true_mask_leaves_what_is_elsewhere(model, prompts):
    """With a span that nothing is copied from, hiding it changes nothing."""
    elsewhere = replace(prompts, spans={"needle": np.tile([0, 1], (len(prompts), 1))})
    edits = mask_heads(model, elsewhere, [COPIER], "true_mask")
    assert np.allclose(forward(model, prompts, edits=edits).logits, forward(model, prompts).logits, atol=1e-3)


def test_what_cannot_be_measured_is_refused(unchecked, model, prompts):
    bare = replace(prompts, spans={})
    with pytest.raises(CircuitError, match="no span 'needle'"):
        find_retrieval(model, bare)
    with pytest.raises(CircuitError, match="masked by"):
        mask_heads(model, prompts, [COPIER], "zero")
    with pytest.raises(CircuitError, match="means"):
        mask_heads(model, prompts, [COPIER], "mean_z")
    with pytest.raises(CircuitError, match="give four"):
        retrieval_reports(model, prompts.select([0, 1, 2]))
    with pytest.raises(CircuitError, match="no field 'nadel'"):
        with_span(model, prompts, "nadel", "needle")
