"""What an attribution holds at once: no more than was planned for, and nothing once it is left."""

from __future__ import annotations

import gc

import pytest
import torch

from interp.circuits import Graph, attribute
from interp.errors import HookError
from interp.models.hooks import Hooks
from interp.run.tape import Rectangle, Tape
from tests.circuits.conftest import off, random_pairs, small
from tests.circuits.live_bytes import LiveBytes


@pytest.fixture
def uncollected():
    """Without the collector: what is freed here is freed because nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_the_counter_counts():
    with LiveBytes() as live:
        kept = torch.zeros(1000)
        view = kept[10:]
        torch.zeros(500) + 1
        assert live.now == 4000
        del kept
        assert live.now == 4000, "the view holds it"
        del view
    assert (live.now, live.peak) == (0, 4000 + 2 * 2000)


CASES = [("gpt2", "eap"), ("gpt2", "eap-ig"), ("gpt2", "atp*"), ("gemma2", "eap-ig-act")]


@pytest.mark.parametrize(("name", "method"), CASES)
@pytest.mark.usefixtures("uncollected")
def test_peak_is_within_the_plan(name, method):
    """Both when all fits at once and when a quarter has to do; and nothing is left behind."""
    model, pairs = small(name), random_pairs(6)
    free = _attribute(model, pairs, method, None)
    planned = free.origin.details["plan"]
    tight = _attribute(model, pairs, method, planned["peak"] // 4)
    assert tight.origin.details["plan"]["pairs"] < planned["pairs"]
    assert off(tight.values, free.values) < 1e-4


def _attribute(model, pairs, method, max_bytes):
    Graph.of(model)
    with LiveBytes() as live:
        scores = attribute(model, pairs, method=method, replicates=0, max_bytes=max_bytes)
    planned = scores.origin.details["plan"]["peak"]
    assert planned / 4 < live.peak <= planned, "a plan is an upper bound, and not an idle one"
    assert planned <= (max_bytes or planned)
    assert live.now < 1000, f"{live.now} bytes are still alive"  # the sums that the scores are made of
    return scores


@pytest.mark.usefixtures("uncollected")
def test_a_tape_lets_go_when_it_is_left():
    model = small("gpt2")
    rows = Rectangle.of(random_pairs(2).clean, [0, 1])
    taps = {"v": model.resolve("v.1"), "z": model.resolve("z.0")}
    with LiveBytes() as live:
        added = torch.ones(1)
        with Tape(model, reads=taps, cuts=taps, writes=[(model.resolve("resid_pre.1"), lambda x: x + added)]) as tape:
            take = tape.play(rows, gradients=True)
            take.gradients(take.logits[:, 5])
        assert live.now > 4000
        del take, added
        assert live.now == 0


def test_hooks_are_entered_once():
    """A second time they would read nothing, and say nothing."""
    model = small("gpt2")
    hooks = Hooks(model, [(model.resolve("z.0"), lambda _: None)])
    with hooks:
        pass
    with pytest.raises(HookError, match="installed once"), hooks:
        pass
