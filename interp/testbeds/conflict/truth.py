"""The answer key: what the loss of each head costs either answer, by zeroing its rows of the output matrix."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import BedError
from ..induction.words import write_json
from .prompts import Conflict
from .spec import BOS, ConflictSpec

CLEAR = 0.1  # nats by which both answers must move, in opposite directions, for a head to have a role


@dataclass(frozen=True)
class HeadTruth:
    """One head: mean change of log p of the memory and of the context answer without it, in nats, and its role.

    ``planted`` is what it may take values from, ``role`` what was measured.
    """

    layer: int
    head: int
    planted: str
    role: str
    memory: float
    context: float


@dataclass(frozen=True)
class ConflictTruth:
    """Facts in the weights, and every head. ``memory`` and ``context`` are mean probabilities of the whole model.

    ``knows`` is the share of subjects whose value comes first when the text says nothing about them.
    """

    facts: dict[str, str]
    knows: float
    memory: float
    context: float
    heads: tuple[HeadTruth, ...]

    def heads_of(self, role: str) -> tuple[tuple[int, int], ...]:
        """The heads with a role: memory, context or neither."""
        return tuple((h.layer, h.head) for h in self.heads if h.role == role)


def write_truth(out: Path, spec: ConflictSpec, model: Any, found: list[Conflict]) -> ConflictTruth:
    """Measure the model with each head taken out in turn, and write ``truth.json``."""
    plain = _log_p(spec, model, found)
    heads, size = [], spec.d_model // spec.n_heads
    for layer, block in enumerate(model.transformer.h):
        for head in range(spec.n_heads):
            rows = block.attn.c_proj.weight.data[head * size : (head + 1) * size]
            kept = rows.clone()
            rows.zero_()
            change = (_log_p(spec, model, found) - plain).mean(0).tolist()
            rows.copy_(kept)
            planted = spec.planted[layer, head]
            heads.append(HeadTruth(layer, head, planted, _role(*change), *(round(c, 4) for c in change)))
    likely = plain.exp().mean(0).tolist()
    truth = ConflictTruth(spec.facts, _knows(spec, model), round(likely[0], 4), round(likely[1], 4), tuple(heads))
    write_json(out / "truth.json", asdict(truth))
    return truth


def read_truth(folder: Path) -> ConflictTruth:
    """Read ``truth.json``.

    Raises:
        BedError: it is missing, or not what `write_truth` writes.
    """
    path = folder / "truth.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        heads = tuple(HeadTruth(**head) for head in fields.pop("heads"))
        if not heads:
            raise ValueError("it lists no heads")
        return ConflictTruth(**fields, heads=heads)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BedError(f"{path} does not hold the truth of a conflict bed: {error}") from error


def _role(memory: float, context: float) -> str:
    if memory < -CLEAR and context > CLEAR:
        return "memory"
    return "context" if context < -CLEAR and memory > CLEAR else "neither"


@torch.no_grad()
def _log_p(spec: ConflictSpec, model: Any, found: list[Conflict]) -> torch.Tensor:
    """Log p of the memory and the context answer, ``[text, 2]``."""
    ids, out = spec.token_id, []
    for one in found:
        log_p = model(input_ids=torch.tensor([[BOS, *(ids[w] for w in one.words)]])).logits[0, -1].log_softmax(-1)
        out.append(log_p[[ids[one.memory], ids[one.context]]])
    return torch.stack(out)


@torch.no_grad()
def _knows(spec: ConflictSpec, model: Any) -> float:
    """Share of subjects whose own value comes first behind a statement about somebody else."""
    ids, right = spec.token_id, 0
    subjects = list(spec.facts)
    for subject, other in zip(subjects, subjects[1:] + subjects[:1], strict=True):
        said = next(v for v in spec.facts.values() if v not in (spec.facts[subject], spec.facts[other]))
        row = torch.tensor([[BOS, ids[f"{other}:{said}"], ids[subject]]])
        right += int(model(input_ids=row).logits[0, -1].argmax()) == ids[spec.facts[subject]]
    return round(right / len(subjects), 4)
