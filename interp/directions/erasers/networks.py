"""Small networks of rectified units for many label vectors, trained together, step by step as scikit-learn would."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

EPOCHS = 200
BATCH = 200
RATE, DECAY = 1e-3, 1e-4
FIRST, SECOND, TINY = 0.9, 0.999, 1e-8
PATIENCE, PROGRESS = 10, 1e-4
"""Training stops when for more than so many epochs the loss has not fallen by this much."""


def network_scores(
    train: Float[Tensor, "#label row d"],
    truth: Bool[Tensor, "label row"],
    test: Float[Tensor, "#label other d"],
    hidden: tuple[int, ...],
    seed: int,
) -> Float[Tensor, "label other"]:
    """Log-odds of class 1, from one network for each label vector, all with the same draws from ``seed``.

    Initial weights, batches and stopping are those of ``MLPClassifier(hidden, random_state=seed)``, Adam on the
    log-loss; a network that has stopped leaves the others. In the precision of ``train``.

    Source: Kingma & Ba (2015), algorithm 1; initial weights after Glorot & Bengio (2010).

    >>> x = torch.tensor([[[0.0], [1.0], [2.0], [3.0]]]).repeat(1, 10, 1)
    >>> y = torch.tensor([[False, False, True, True], [True, True, False, False]]).repeat(1, 10)
    >>> up, down = network_scores(x, y, torch.tensor([[[-9.0], [9.0]]]), (8,), 0)
    >>> bool(up[1] > up[0]), bool(down[1] < down[0])
    (True, True)
    """
    draws = np.random.RandomState(seed % 2**32)
    nets = _Networks(train.shape[2], hidden, len(truth), draws, train.dtype)
    own, target, n = train.shape[0] > 1, truth.to(train.dtype), train.shape[1]
    order = np.arange(n)
    for _ in range(EPOCHS):
        order = order[draws.permutation(n)]
        x, y = (train[nets.live] if own else train), target[nets.live]
        if n <= BATCH:
            loss = nets.step(x, y)
        else:
            batches = torch.from_numpy(order).split(BATCH)
            loss = torch.stack([nets.step(x[:, rows], y[:, rows]) * (len(rows) / n) for rows in batches]).sum(0)
        if not nets.continued(loss):
            break
    return nets.scores(test)


class _Networks:
    """One network for each label vector; those still in training are ``live``.

    Weights are ``[network, out, in]`` and biases ``[network, out, 1]``, in turn; units come before rows.
    """

    def __init__(
        self, d: int, hidden: tuple[int, ...], count: int, draws: np.random.RandomState, dtype: torch.dtype
    ) -> None:
        sizes, self.params = (d, *hidden, 1), []
        for fan_in, fan_out in pairwise(sizes):
            bound = np.sqrt(6 / (fan_in + fan_out))
            for shape in ((fan_in, fan_out), (1, fan_out)):
                drawn = torch.from_numpy(draws.uniform(-bound, bound, shape)).to(dtype)
                self.params.append(drawn.T.repeat(count, 1, 1))
        self.first, self.second = ([torch.zeros_like(p) for p in self.params] for _ in range(2))
        self.done = [p.clone() for p in self.params]
        self.live = torch.arange(count)
        self.best, self.waited, self.steps = torch.full((count,), torch.inf, dtype=dtype), torch.zeros(count), 0

    def step(self, x: Tensor, target: Tensor) -> Tensor:
        """One step of Adam on a batch ``[#live, row, d]``; the loss of each network before it."""
        n, weights = x.shape[1], self.params[::2]
        acts = [_first_layer(weights[0], x).add_(self.params[1])]
        for w, b in zip(weights[1:], self.params[3::2], strict=True):
            acts.append(torch.baddbmm(b, w, acts[-1].relu_()))
        logits = acts.pop()[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
        for w in weights:
            loss += (0.5 * DECAY / n) * torch.linalg.vector_norm(w, dim=(1, 2)).square()
        delta, gradients = (torch.sigmoid(logits) - target)[:, None], []
        for w, act in zip(weights[:0:-1], acts[::-1], strict=True):
            gradients += [
                delta.mean(2, keepdim=True),
                torch.baddbmm(w, delta, act.transpose(1, 2), beta=DECAY / n, alpha=1 / n),
            ]
            delta = torch.matmul(w.transpose(1, 2), delta).masked_fill_(act <= 0, 0.0)
        gradients += [delta.mean(2, keepdim=True), _first_gradient(weights[0], delta, x)]
        self._adam(gradients[::-1])
        return loss

    def _adam(self, gradients: list[Tensor]) -> None:
        self.steps += 1
        rate = RATE * np.sqrt(1 - SECOND**self.steps) / (1 - FIRST**self.steps)
        for p, m, v, g in zip(self.params, self.first, self.second, gradients, strict=True):
            m.lerp_(g, 1 - FIRST)
            v.mul_(SECOND).addcmul_(g, g, value=1 - SECOND)
            p.addcdiv_(m, torch.sqrt(v, out=g).add_(TINY), value=-float(rate))

    def continued(self, loss: Tensor) -> bool:
        """Take note of an epoch's losses, let go of the networks that have stopped, and say whether any is left."""
        self.waited = torch.where(loss > self.best - PROGRESS, self.waited + 1, 0.0)
        self.best = torch.minimum(self.best, loss)
        on = self.waited <= PATIENCE
        if not bool(on.all()):
            self._finish(~on)
            for name in ("params", "first", "second"):
                setattr(self, name, [t[on] for t in getattr(self, name)])
            self.live, self.best, self.waited = self.live[on], self.best[on], self.waited[on]
        return bool(len(self.live))

    def _finish(self, which: Tensor) -> None:
        for done, p in zip(self.done, self.params, strict=True):
            done[self.live[which]] = p[which]

    def scores(self, x: Tensor) -> Tensor:
        """Log-odds by the final weights of all networks."""
        self._finish(torch.ones(len(self.live), dtype=torch.bool))
        out = _first_layer(self.done[0], x) + self.done[1]
        for w, b in zip(self.done[2::2], self.done[3::2], strict=True):
            out = torch.baddbmm(b, w, out.relu())
        return out[:, 0]


def _first_layer(w: Tensor, x: Tensor) -> Tensor:
    """``[network, out, row]``; one product where all networks see the same rows."""
    if len(x) > 1 or len(w) == 1:
        return torch.matmul(w, x.transpose(1, 2))
    return torch.mm(w.flatten(0, 1), x[0].T).unflatten(0, w.shape[:2])


def _first_gradient(w: Tensor, delta: Tensor, x: Tensor) -> Tensor:
    beta, alpha = DECAY / x.shape[1], 1 / x.shape[1]
    if len(x) > 1 or len(w) == 1:
        return torch.baddbmm(w, delta, x.expand(len(w), -1, -1), beta=beta, alpha=alpha)
    return torch.addmm(w.flatten(0, 1), delta.flatten(0, 1), x[0], beta=beta, alpha=alpha).unflatten(0, w.shape[:2])
