"""Sites fitted side by side are sites fitted in turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.errors import NonFiniteError
from interp.probes import cross_validate, evaluate
from interp.probes.threads import side_by_side


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_same_numbers(threads, monkeypatch):
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, g = (x[:, 0] > 0).numpy(), np.arange(80) // 2
    sites = {"a": x, "b": x.roll(1, 0), "c": x[:, 1:]}
    one = cross_validate(sites, y, g, folds=4, permutations=9, bootstrap=50)
    monkeypatch.setattr(evaluate, "LARGE", 1)
    two = cross_validate(sites, y, g, folds=4, permutations=9, bootstrap=50)
    assert np.allclose(one.scores, two.scores, atol=1e-9)
    assert np.array_equal(one.null, two.null)
    assert torch.get_num_threads() == 2


def test_one_thread_each_and_as_before_afterwards(threads):
    seen = side_by_side(lambda x: torch.get_num_threads(), [torch.ones(4), torch.ones(4), torch.ones(4)], 1)
    assert seen == [1, 1, 1]
    assert torch.get_num_threads() == 2

    def fails(x):
        raise NonFiniteError("no")

    with pytest.raises(NonFiniteError):
        side_by_side(fails, [torch.ones(4), torch.ones(4)], 1)
    assert torch.get_num_threads() == 2


def test_small_pieces_are_done_in_turn(threads):
    assert side_by_side(lambda x: torch.get_num_threads(), [torch.ones(4), torch.ones(4)], 5) == [2, 2]
