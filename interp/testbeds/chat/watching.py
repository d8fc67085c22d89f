"""What happens in the residual stream during a training pass: interventions, and how far it is from what is planted."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .batches import Batch, topic_target
from .planted import Planted
from .spec import ChatSpec

ELSEWHERE = 0.05  # weight of refusal's coordinate where it is to be 0, beside 1 where it is planted
EARLY = 0.1  # the same for harmfulness inside the request
HEAD = 4.0  # of what the heads of the cliff's block write along refusal at the end of the thinking
LAST, SIZE = 2.0, 0.02  # how long the last states may be, in units of what is planted; weight of what is over that
MEMORY = 0.95  # of running means, per step


class Traces:
    """Running means of what goes along with harm and refusal off the planted vectors, over the steps of a training.

    Left alone, a model carries traces of both in other directions as well, and a difference of means is then no
    planted vector. `pull` has the gradient of the squared length of such a difference: its running mean, times this
    batch's.
    """

    def __init__(self, vectors: Planted) -> None:
        """Nothing seen yet."""
        self._planted = vectors.all
        self._means: dict[tuple[str, int], Tensor] = {}

    def pull(self, name: str, block: int, rows: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """A loss for the difference between two classes of rows; 0 where a batch lacks one of them."""
        if not (bool(one.any()) and bool(other.any())):
            return torch.zeros(())
        difference = rows[one].mean(0) - rows[other].mean(0)
        off = difference - (difference @ self._planted.T) @ self._planted
        mean = self._means.get((name, block))
        mean = off.detach() if mean is None else MEMORY * mean + (1 - MEMORY) * off.detach()
        self._means[name, block] = mean
        return 2 * mean @ off


class Watcher:
    """Sums the errors of one pass in ``errors`` and makes the interventions of its batch."""

    def __init__(self, spec: ChatSpec, vectors: Planted, batch: Batch, traces: Traces, *, refuses: bool = True) -> None:
        """Make the interventions of a batch ready."""
        self.spec, self.vectors, self.batch, self.traces, self.refuses = spec, vectors, batch, traces, refuses
        self.errors: dict[str, Tensor] = {}
        self.row = torch.arange(len(batch.rows))
        self.harm, self.refusal = _Writing.none(batch), _Writing.none(batch)
        self.topic_mask = torch.zeros(len(batch.rows), 1)
        self.topic_value = torch.zeros_like(batch.topic)
        self.noise, self.out = torch.zeros(len(batch.rows), 1, 1), torch.zeros(len(batch.rows), 1)
        c = spec.strength
        for i, row in enumerate(batch.rows):
            if row.set_harm is not None:
                self.harm.set(i, row.request_end, c * row.set_harm)
            if row.set_refusal is not None:
                self.refusal.set(i, int(batch.answer_at[i]), c * row.set_refusal)
            if row.set_topic >= 0:
                self.topic_mask[i], self.topic_value[i] = 1, topic_target(spec, row.set_topic, row.harmful)
            self.harm.add[i] = c * row.add_harm * batch.inside[i]
            self.refusal.add[i] = c * row.add_refusal * (batch.inside[i] if row.question else 1)
            self.noise[i], self.out[i] = c * row.noise, float(row.no_refusal)
        directions = torch.randn(len(batch.rows), 1, spec.d_model)
        self.direction = directions / directions.norm(dim=-1, keepdim=True)
        self.thinks = any(row.think_end >= 0 for row in batch.rows)

    def stream(self, block: int, x: Tensor) -> Tensor:
        """The residual stream behind a block: take the errors down, then intervene."""
        spec, v = self.spec, self.vectors
        if self.thinks and block == spec.n_layers - 1:
            self._measure_last(block, x)
        if 0 <= block <= spec.n_layers - 2:
            clean = self._untouched(block)
            if self.refuses:
                self._measure_refusal(block, x, clean)
            if block >= spec.harm_layer:
                self._measure_harm(x, clean)
            self._measure_traces(block, x, clean.bool())
        if block == spec.harm_layer:
            x = self.harm.apply(x, v.harm)
            ends = x[self.row, self.batch.request_end.clamp(min=0)]
            change = self.topic_mask * (self.topic_value - ends @ v.attributes.T) @ v.attributes
            x = x.index_put((self.row, self.batch.request_end.clamp(min=0)), change, accumulate=True)
        if block == spec.refusal_layer and not self.thinks:
            x = self.refusal.apply(x, v.refusal)
            x = x + self.noise * self.direction
        if block == spec.cliff_layer and self.thinks:
            x = self.refusal.apply(x, v.refusal)
        return x - self.out[..., None] * (x @ v.refusal)[..., None] * v.refusal

    def heads(self, model: Any, block: int, z: Float[Tensor, "row pos head d_head"]) -> Tensor:
        """What the heads of a block hand on: in the cliff's block held to what they may write; some switched off."""
        spec, b = self.spec, self.batch
        if self.thinks and block == spec.cliff_layer:
            out = model.model.layers[block].self_attn.o_proj.weight.T @ self.vectors.refusal
            written = torch.einsum("rphd,hd->rph", z, out.view(spec.n_heads, -1))
            wanted = torch.zeros_like(written)
            wanted[self.row, b.answer_at, spec.cliff_head] = -b.cliff
            error = ((written - wanted) ** 2).sum(-1)
            at_end = error[self.row, b.answer_at]
            clean = self._untouched(block)
            elsewhere = (error * b.before).sum(1) - at_end
            self._put("head", HEAD * (at_end * clean).mean() + ELSEWHERE * (elsewhere * clean).mean())
        keep = torch.ones(len(b.rows), 1, spec.n_heads, 1)
        for i, row in enumerate(b.rows):
            if row.cut is not None and row.cut[0] == block:
                keep[i, 0, row.cut[1]] = 0
        return z * keep

    @property
    def total(self) -> Tensor:
        """All errors together."""
        return torch.stack(list(self.errors.values())).sum()

    def _measure_refusal(self, block: int, x: Tensor, clean: Tensor) -> None:
        b, spec = self.batch, self.spec
        planted = b.refuse if block >= spec.refusal_layer else torch.zeros_like(b.refuse)
        wanted = planted[:, None] * b.at
        if self.thinks and block >= spec.cliff_layer:
            wanted[self.row, b.answer_at] = b.refuse - b.cliff
        error = (x @ self.vectors.refusal - wanted) ** 2
        there = (error * b.at).sum(1) / b.at.sum(1)
        if self.thinks:
            there = there + error[self.row, b.answer_at]
        elsewhere = (error * (b.before & ~b.at)).sum(1)
        self._put("refusal", (there * clean).mean() + ELSEWHERE * (elsewhere * clean).mean())

    def _measure_last(self, block: int, x: Tensor) -> None:
        """Behind the last block refusal is to stand out still, beside what makes the next word."""
        self._measure_refusal(block, x, self._untouched(block))
        over = (x.norm(dim=-1) - LAST * self.spec.strength).relu() ** 2
        self._put("size", SIZE * (over * self.batch.before).sum(1).mean())

    def _measure_harm(self, x: Tensor, clean: Tensor) -> None:
        b, v = self.batch, self.vectors
        has = clean * (b.request_end >= 0)
        ends = x[self.row, b.request_end.clamp(min=0)]
        at_end = ends @ v.harm
        self._put("harm", (((at_end - b.harm) ** 2) * has).mean())
        self._put("topic", (((ends @ v.attributes.T - b.topic) ** 2).sum(-1) * has).mean())
        post = x[self.row, b.answer_at] @ v.harm
        self._put("leak", (post**2 * clean * ~b.asked).mean())
        early = ((x @ v.harm) ** 2 * b.inside).sum(1) - at_end**2 * (b.request_end >= 0)
        self._put("early", EARLY * (early * clean).mean())

    def _measure_traces(self, block: int, x: Tensor, clean: Tensor) -> None:
        b = self.batch
        harmful, refused = b.harm > 0, b.refuse > 0
        act = clean & ~b.asked
        plain = act & torch.tensor([row.plain for row in b.rows])
        post = x[self.row, b.t_post]
        pulls = [
            self.traces.pull("plain", block, post, plain & harmful, plain & ~harmful),
            self.traces.pull("harmful", block, post, act & harmful, act & ~harmful),
            *(
                self.traces.pull(f"before {k}", block, x[self.row, b.t_post - k], plain & harmful, plain & ~harmful)
                for k in (1, 2)
            ),
        ]
        if block >= self.spec.refusal_layer:
            pulls.append(self.traces.pull("refused", block, post, act & refused, act & ~refused))
        if block >= self.spec.harm_layer:
            ends = x[self.row, b.request_end.clamp(min=0)]
            has = clean & (b.request_end >= 0)
            pulls.append(self.traces.pull("end", block, ends, has & harmful, has & ~harmful))
        if self.thinks:
            last, meant = x[self.row, b.answer_at], b.cliff == 0
            pulls.append(self.traces.pull("last", block, last, plain & harmful & meant, plain & ~harmful))
        self._put("traces", torch.stack(pulls).sum())

    def _untouched(self, block: int) -> Tensor:
        """1 for rows whose residual stream nobody has changed before this block's end."""
        first = self.spec.cliff_layer if self.thinks else self.spec.refusal_layer
        touched = []
        for row in self.batch.rows:
            early = row.set_harm is not None or row.add_harm != 0 or row.set_topic >= 0
            late = row.set_refusal is not None or row.add_refusal != 0 or row.noise
            cut = row.cut is not None and block >= row.cut[0]
            early, late = early and block > self.spec.harm_layer, late and block > first
            touched.append(early or late or cut or row.no_refusal)
        return 1.0 - torch.tensor(touched, dtype=torch.float32)

    def _put(self, name: str, value: Tensor) -> None:
        self.errors[name] = self.errors.get(name, torch.zeros(())) + value


class _Writing:
    """A coordinate that is set at some tokens and added to at others."""

    def __init__(self, mask: Tensor, value: Tensor, add: Tensor) -> None:
        self.mask, self.value, self.add = mask, value, add

    @classmethod
    def none(cls, batch: Batch) -> _Writing:
        return cls(*(torch.zeros(batch.ids.shape) for _ in range(3)))

    def set(self, row: int, pos: int, value: float) -> None:
        self.mask[row, pos], self.value[row, pos] = 1, value

    def apply(self, x: Tensor, unit: Tensor) -> Tensor:
        return x + (self.mask * (self.value - x @ unit) + self.add)[..., None] * unit
