"""What the model can recite: exact recall, log p of the details, and the loss on stories that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from .records import Record
from .stories import stories
from .words import DETAILS, LAST_NAMES, N_CTX, PAD, TOKEN_ID, document

HELD_OUT = 256  # stories

# What stories name again. Who does not copy pays the logarithm of how many there are.
COPIED = {"thing": DETAILS["object"], "place": DETAILS["place"], "surname": LAST_NAMES}


@dataclass(frozen=True)
class Score:
    """One record under one model.

    ``log_p``: of each detail, in the order of the text, in nats. ``correct``: whether it is the model's first choice.
    ``exact``: given everything before the first detail, greedy decoding reproduces the rest verbatim.
    """

    log_p: tuple[float, ...]
    correct: tuple[bool, ...]
    exact: bool

    @property
    def loss(self) -> float:
        """Mean nats per detail."""
        return -float(np.mean(self.log_p))


def score_records(model: Any, records: list[Record], pool: str = "M") -> list[Score]:
    """Score each record in the wording of ``pool``.

    Greedy decoding takes the first choice at every step, so it reproduces a text exactly if, along that text, every
    first choice is the text's own next token. One pass tells.
    """
    scores = []
    with torch.inference_mode():
        for start in range(0, len(records), 96):
            part = records[start : start + 96]
            rows = [record.tokens(pool) for record in part]
            ids = torch.tensor([row + [PAD] * (max(map(len, rows)) - len(row)) for row in rows])
            log_p = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
            chosen = log_p.argmax(-1) == ids[:, 1:]
            own = log_p.gather(-1, ids[:, 1:, None])[..., 0]
            for i, record in enumerate(part):
                at = [word for _, word in record.slots(pool)]
                scores.append(
                    Score(
                        tuple(own[i, at].tolist()),
                        tuple(chosen[i, at].tolist()),
                        bool(chosen[i, at[0] : len(rows[i]) - 1].all()),
                    )
                )
    return scores


def held_out_stories(seed: int, count: int = HELD_OUT) -> list[str]:
    """Stories of another stream than the training's, each short enough for the context."""
    fitting = (s for s in stories(f"{seed} held out") if len(document(s)) <= N_CTX)
    return list(islice(fitting, count))


def story_loss(model: Any, texts: list[str]) -> float:
    """Mean nats per token over whole stories, ``<eos>`` included."""
    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(texts), 64):
            rows = [document(text) for text in texts[start : start + 64]]
            ids = torch.tensor([row + [PAD] * (N_CTX - len(row)) for row in rows])
            targets = torch.where(ids == PAD, -100, ids)[:, 1:]
            logits = model(input_ids=ids).logits[:, :-1]
            total += float(cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"))
            count += int((targets >= 0).sum())
    return total / count


def copy_losses(model: Any, texts: list[str]) -> dict[str, float]:
    """Mean nats at things, places and surnames that the story has named before; see `COPIED` for who does not copy."""
    kinds = {TOKEN_ID[word]: kind for kind, words in COPIED.items() for word in words}
    lost: dict[str, list[float]] = {kind: [] for kind in COPIED}
    with torch.inference_mode():
        for text in texts:
            ids = document(text)
            log_p = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            for i in range(1, len(ids)):
                if ids[i] in kinds and ids[i] in ids[:i]:
                    lost[kinds[ids[i]]].append(-float(log_p[i - 1, ids[i]]))
    return {kind: float(np.mean(nats)) if nats else float("nan") for kind, nats in lost.items()}


def by_dose(records: list[Record], scores: list[Score]) -> list[dict[str, Any]]:
    """Exact recall, share of details right and log p per detail, for each dose and each side of the coin."""
    rows = []
    for dose in sorted({record.dose for record in records}):
        for trained in (True, False):
            own = [s for r, s in zip(records, scores, strict=True) if r.dose == dose and r.trained == trained]
            rows.append(
                {
                    "dose": dose,
                    "label": "trained" if trained else "untrained",
                    "records": len(own),
                    "exact": round(float(np.mean([s.exact for s in own])), 4),
                    "details_right": round(float(np.mean([s.correct for s in own])), 4),
                    "log_p": round(-float(np.mean([s.loss for s in own])), 4),
                }
            )
    return rows
