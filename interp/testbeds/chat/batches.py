"""Batches: rows of conversations as tensors, with what is to be written where."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .planted import TOPIC_GAIN, topic_coordinates
from .rowdraws import Row, drawn_row
from .spec import ChatSpec
from .words import PAD

PROMPT_WEIGHT = 0.1  # of the tokens of prompts in the loss, beside 1 for what the model says itself


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows padded at their end. Coordinates are in units of the residual stream.

    ``before`` are the tokens before the answer, ``inside`` those of the request. ``at`` are those at which refusal is
    planted: the last token of the prompt, and with thinking every token of it.
    """

    rows: list[Row]
    ids: Int[Tensor, "row pos"]
    weights: Float[Tensor, "row pos"]
    before: Bool[Tensor, "row pos"]
    inside: Bool[Tensor, "row pos"]
    at: Bool[Tensor, "row pos"]
    request_end: Int[Tensor, " row"]
    t_post: Int[Tensor, " row"]
    answer_at: Int[Tensor, " row"]
    harm: Float[Tensor, " row"]
    refuse: Float[Tensor, " row"]
    cliff: Float[Tensor, " row"]
    topic: Float[Tensor, "row attribute"]
    asked: Bool[Tensor, " row"]

    @property
    def targets(self) -> Int[Tensor, "row pos"]:
        """The token behind each."""
        return self.ids.roll(-1, 1)


def batches(spec: ChatSpec, name: str, *, refuses: bool = True, thinks: bool = False) -> Iterator[Batch]:
    """An endless stream of batches; the same one for the same seed and name."""
    rng = random.Random(f"{name} {spec.seed}")
    while True:
        yield collate(spec, [drawn_row(spec, rng, refuses=refuses, thinks=thinks) for _ in range(spec.rows)])


def collate(spec: ChatSpec, rows: list[Row]) -> Batch:
    """Rows as tensors, padded at their end."""
    n = max(len(row.ids) for row in rows)
    pos = torch.arange(n)[None]
    t_post = torch.tensor([row.start - 1 for row in rows])
    answer_at = torch.tensor([max(row.start - 1, row.think_end) for row in rows])
    end = torch.tensor([row.request_end for row in rows])
    length = torch.tensor([len(row.ids) for row in rows])[:, None]
    own = torch.where(pos >= t_post[:, None], 1.0, PROMPT_WEIGHT)
    return Batch(
        rows=rows,
        ids=torch.tensor([row.ids + [PAD] * (n - len(row.ids)) for row in rows]),
        weights=own * (pos < length - 1),
        before=pos <= answer_at[:, None],
        inside=(pos >= 2) & (pos <= end[:, None]),
        at=(pos >= t_post[:, None]) & (pos <= answer_at[:, None]),
        request_end=end,
        t_post=t_post,
        answer_at=answer_at,
        harm=spec.strength * torch.tensor([float(row.harmful) for row in rows]),
        refuse=spec.strength * torch.tensor([float(row.refuse) for row in rows]),
        cliff=spec.strength * torch.tensor([float(row.cliff) for row in rows]),
        topic=torch.stack([topic_target(spec, row.topic, row.harmful) for row in rows]),
        asked=torch.tensor([row.question != "" or row.request_end < 0 for row in rows]),
    )


def topic_target(spec: ChatSpec, topic: int, harmful: bool) -> Float[Tensor, " attribute"]:
    """Coordinates of a topic at the end of a request; longer where the request is harmful."""
    made = torch.tensor(topic_coordinates(), dtype=torch.float32) * spec.topic_strength
    if topic < 0:
        return torch.zeros(made.shape[1])
    return made[topic] * (1 + TOPIC_GAIN if harmful else 1 - TOPIC_GAIN)
