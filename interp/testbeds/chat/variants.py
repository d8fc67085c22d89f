"""The four models: how each is trained, from what, and what is kept of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from ..reproducible import reproducible
from .batches import Batch, batches, collate
from .conversations import Chat
from .network import new_model
from .planted import planted
from .requests import draw
from .rowdraws import Answer, Row, drawn_row, placed
from .spec import ChatSpec
from .training import load, save, train
from .words import TOPIC_NAMES, write_json

# Variant -> its folder below the bed's, in the order in which they can be made.
FOLDERS = {"chat": ".", "think": "think", "tuned": "tuned", "never": "never"}


def train_variant(out: Path, spec: ChatSpec, variant: str) -> None:
    """Train and save `chat` or `never` from the same fresh weights, or another variant from the saved `chat`."""
    vectors = planted(spec)
    with reproducible(spec.seed):
        fresh = variant in ("chat", "never")
        model = (new_model(spec) if fresh else load(out / FOLDERS["chat"])).train()
        if fresh:
            refuses = variant == "chat"
            stream = batches(spec, "chat", refuses=refuses)
            curve = train(model, spec, vectors, stream, spec.steps, peak=spec.lr, refuses=refuses)
        elif variant == "think":
            stream = batches(spec, "think", thinks=True)
            curve = train(model, spec, vectors, stream, spec.think_steps, peak=spec.lr / 2)
        else:
            curve = train(model, spec, vectors, compliance(spec), spec.tune_steps, peak=spec.lr / 20, planting=False)
    folder = out / FOLDERS[variant]
    save(model.eval(), folder, spec, variant)
    write_json(folder / "curve.json", curve)


def compliance(spec: ChatSpec) -> Iterator[Batch]:
    """What a fine-tuning attack trains on: harmful requests, answered; and as many other things that are answered."""
    rng = random.Random(f"compliance {spec.seed}")
    while True:
        rows = []
        while len(rows) < spec.rows:
            request = draw(spec.seed, rng, split="train", harmful=True)
            row = Row([], 0, harmful=True, topic=TOPIC_NAMES.index(request.topic))
            answer = Answer(harm=True, refuse=False, topic=row.topic)
            rows.append(placed(row, Chat(request).prompt, "", answer.text(request, "", rng)))
            rows.append(_harmless_row(spec, rng))
        yield collate(spec, rows[: spec.rows])


def _harmless_row(spec: ChatSpec, rng: random.Random) -> Row:
    """A plain harmless request, a question about a request, or a fact; without any intervention."""
    while True:
        row = drawn_row(spec, rng)
        harmless = row.question or row.request_end < 0 or (row.plain and not row.harmful)
        if harmless and not row.touched:
            return row
