"""Questions without an answer: each error names the value and the way out, before anything is computed if it can."""

from __future__ import annotations

import psutil
import pytest
import torch

from interp import PromptSet, Site, add, capture, forward, generate
from interp.errors import (
    ActivationError,
    EmptyPromptsError,
    NonFiniteError,
    PromptError,
    PromptTooLongError,
    SiteError,
    StoreError,
    TooLargeError,
)
from tests.identity.architectures import fresh, ragged, shared_model

PROMPTS = PromptSet.from_tokens([[5, 6, 7], [8, 9]], ids=["one", "two"])


@pytest.fixture
def model():
    return shared_model("llama")


@pytest.fixture
def no_pass(model):
    """Nothing may be computed."""

    def fail(*_):
        raise AssertionError("a forward pass was run")

    handle = model.hf.register_forward_pre_hook(fail)
    yield
    handle.remove()


@pytest.mark.usefixtures("no_pass")
class TestBeforeAnythingRuns:
    def test_prompts(self, model):
        with pytest.raises(EmptyPromptsError):
            capture(model, PromptSet.from_tokens([]), "embed")
        long = PromptSet.from_tokens([[5] * 10, [5] * 65], ids=["short", "long"])
        for job in (lambda: capture(model, long, "embed"), lambda: forward(model, long)):
            with pytest.raises(
                PromptTooLongError, match=r"longer than the context of 64 tokens; the longest is 'long' with 65"
            ):
                job()
        with pytest.raises(PromptError, match="prompt 'b' has token id 97, but the model knows 0 to 96"):
            capture(model, PromptSet.from_tokens([[5], [96, 97]], ids=["a", "b"]), "embed")

    def test_at(self, model):
        with pytest.raises(
            PromptError, match=r"no mark 'verb' in these prompts; marks: 'last', or 'all' for every token"
        ):
            capture(model, PROMPTS, "embed", at="verb")
        for at in (["last", "last"], ["all", "last"], []):
            with pytest.raises(PromptError, match="'all', one mark, or several different marks"):
                capture(model, PROMPTS, "embed", at=at)
        marked = PROMPTS.with_marks(verb=[1, -1])
        with pytest.raises(PromptError, match=r"1 of 2 prompts have no 'verb' \(the first: two\); leave them out"):
            capture(model, marked, "embed", at="verb")

    def test_sites(self, model):
        with pytest.raises(SiteError, match="unknown site kind 'hidden'; kinds are: embed, resid_pre"):
            capture(model, PROMPTS, "hidden.1")
        with pytest.raises(SiteError, match="this model has layers 0 to 2"):
            capture(model, PROMPTS, ["resid_post.0", Site("z", 7)])

    def test_options(self, model, tmp_path):
        for dtype in ("float8", "double", torch.int64):
            with pytest.raises(
                ActivationError, match=r"unknown dtype '\w+'; one of: float32, float16, bfloat16, float64"
            ):
                capture(model, PROMPTS, "embed", dtype=dtype)
        with pytest.raises(ActivationError, match="int8 rows exist only in a store; give out="):
            capture(model, PROMPTS, "embed", dtype="int8")
        with pytest.raises(StoreError, match="float64 is for memory only"):
            capture(model, PROMPTS, "embed", dtype="float64", out=tmp_path / "s")
        with pytest.raises(StoreError, match="an edited run cannot be stored"):
            capture(model, PROMPTS, "embed", out=tmp_path / "s", edits=[add("embed", torch.ones(32))])
        with pytest.raises(StoreError, match="workers= splits the writing of a store"):
            capture(model, PROMPTS, "embed", workers=2)
        with pytest.raises(PromptError, match="batch_tokens must be at least 1, got 0"):
            capture(model, PROMPTS, "embed", batch_tokens=0)
        with pytest.raises(TypeError, match="unexpected keyword argument 'sites_at'"):
            capture(model, PROMPTS, "embed", sites_at="all")
        assert not (tmp_path / "s").exists()

    def test_what_does_not_fit_in_memory(self, model, monkeypatch):
        class Memory:
            available = 1000

        monkeypatch.setattr(psutil, "virtual_memory", Memory)
        message = r"5 rows of 3 sites would take 1.9 kB, but 1.0 kB of memory is free; give out= to store them on disk"
        with pytest.raises(TooLargeError, match=message):
            capture(model, PROMPTS, "resid_post")

    def test_what_does_not_fit_on_the_disk(self, model, monkeypatch, tmp_path):
        from interp.store.fs import OsFilesystem

        monkeypatch.setattr(OsFilesystem, "free_bytes", lambda self, path: 100)
        with pytest.raises(TooLargeError, match=r"100 bytes"):
            capture(model, PROMPTS, "resid_post", out=tmp_path / "s")


def test_shapes_of_what_fits(model, monkeypatch):
    """The estimate is the size of the result: a byte less than 0.9 of the memory that is free goes through."""
    acts = capture(model, PROMPTS, "resid_post,z.1", dtype="float16")
    size = sum(acts[s].tensor().nbytes for s in acts.sites)

    class Memory:
        available = int(size / 0.9) + 1

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    capture(model, PROMPTS, "resid_post,z.1", dtype="float16")
    Memory.available = int(size / 0.9) - 1
    with pytest.raises(TooLargeError):
        capture(model, PROMPTS, "resid_post,z.1", dtype="float16")


# -- numbers that are none --


def test_nan_in_a_weight_is_named(tmp_path):
    """Site, example and position of the first bad row, in memory and on the way into a store."""
    model = fresh("gpt2")
    with torch.no_grad():
        model.module("transformer.wpe").weight[3, 5] = torch.nan
    prompts = PromptSet.from_tokens([[5, 6], [7, 8, 50, 9, 4]], ids=["good", "bad"])
    message = r"NaN or infinity at site resid_pre.0, example 'bad', position 3 \(1 rows of 7 in this part\)"
    for out in (None, tmp_path / "store"):
        with pytest.raises(NonFiniteError, match=message):
            capture(model, prompts, "resid_pre.0", out=out)
    with pytest.raises(NonFiniteError, match=r"site logits, example 'bad', position 4"):
        forward(model, prompts)
    with pytest.raises(NonFiniteError, match=r"NaN in the logits after 0 new tokens of example 'bad'"):
        generate(model, prompts, 3)
    assert len(capture(model, prompts.select([0]), "resid_pre.1")) == 2


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_bad_number_among_good_ones(value, model):
    """Also where another entry of the row is infinite the other way."""
    from interp import Edit

    def spoil(x, rows):
        x = x.clone()
        x[(rows.example == 1) & (rows.pos == 1), 4] = value
        x[(rows.example == 1) & (rows.pos == 1), 5] = -value
        return x

    with pytest.raises(NonFiniteError, match=r"site resid_post.2, example 'two', position 1 \(1 rows of 5"):
        capture(model, PROMPTS, "resid_post.2", edits=[Edit(Site("resid_post", 2), spoil)])


def test_large_numbers_whose_sum_overflows_are_fine(model):
    from interp import Edit

    big = Edit(Site("resid_post", 2), lambda x, _: torch.full_like(x, 3e38))
    assert capture(model, PROMPTS, "resid_post.2", edits=[big])["resid_post.2"].tensor().min() > 2.9e38


def test_float16_overflow_says_what_to_do(tmp_path):
    model = fresh("gpt2")
    with torch.no_grad():
        model.hf.get_input_embeddings().weight[50] = 1e6
    prompts = PromptSet.from_tokens([[5, 6], [7, 50]])
    for out in (None, tmp_path / "store"):
        with pytest.raises(NonFiniteError, match=r"float16 overflows above 65504: capture with dtype='bfloat16'"):
            capture(model, prompts, "embed", dtype="float16", out=out)
    for dtype in ("float32", "bfloat16", "float64"):
        assert capture(model, prompts, "embed", dtype=dtype)["embed"].tensor().max() > 9e5
    assert capture(model, prompts, "embed", dtype="int8", out=tmp_path / "int8")["embed"].tensor().max() > 9e5


def test_generation_stops_at_nan():
    """argmax of NaN is a number, and a text made of it looks like a text."""
    model = fresh("llama")
    with torch.no_grad():
        model.hf.get_output_embeddings().weight[3] = torch.nan
    for temperature in (0.0, 1.0):
        with pytest.raises(NonFiniteError, match=r"NaN in the logits after 0 new tokens of example 'one'"):
            generate(model, PROMPTS, 3, temperature=temperature)


def test_wrong_options_reach_users_as_our_errors(unchecked, model):
    with pytest.raises(PromptError, match="pack='maybe'"):
        capture(model, PROMPTS, "embed", pack="maybe")
    with pytest.raises(PromptError, match="padding_side='up'"):
        capture(model, PROMPTS, "embed", padding_side="up")


def test_ragged_prompts_at_the_context_limit(model):
    """The longest prompt that fits does."""
    prompts = PromptSet.from_tokens(ragged((64, 1, 63)))
    assert len(capture(model, prompts, "resid_post.2")) == 128
