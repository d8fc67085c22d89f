"""Which head copies: planted, and measured by taking each one out of a second implementation of the model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import BedError
from ..induction.truth import run
from ..induction.weights import D_HEAD, N_HEADS, N_LAYERS
from ..induction.words import BOS, TOKEN_ID, write_json
from .haystack import NEEDLE, Haystack
from .weights import COPIER, HELPER, LOOKER, SELF

N_MEASURED = 24  # haystacks that the heads are taken out on

_WHY = {
    COPIER: ("copies", "finds the word behind the last one's earlier place, and writes it where the logits read"),
    HELPER: ("helps", "writes into each place which word stands before it, which the copy head looks for"),
    LOOKER: ("looks", "looks at the same place for half of the words, and writes where nothing reads"),
    SELF: ("looks", "looks at the last word's earlier place, inside the needle and never at what comes next"),
}


@dataclass(frozen=True)
class HeadTruth:
    """One head: ``role`` (copies, helps, looks, idle), and the share of needle words still written without it."""

    layer: int
    head: int
    role: str
    copied_without: float
    why: str


@dataclass(frozen=True)
class NeedleTruth:
    """What was planted. ``copied`` is the share of needle words that the whole model writes."""

    copy_head: tuple[int, int]
    helper_head: tuple[int, int]
    copied: float
    heads: tuple[HeadTruth, ...]


def write_truth(out: Path, weights: dict[str, np.ndarray], found: list[Haystack]) -> NeedleTruth:
    """Measure the model, with each head taken out in turn, and write ``truth.json``."""
    exact = {name: w.astype(np.float64) for name, w in weights.items()}
    some = found[:: len(found) // N_MEASURED][:N_MEASURED]
    heads = []
    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            role, why = _WHY.get((layer, head), ("idle", "attends at random and writes where nothing reads"))
            heads.append(HeadTruth(layer, head, role, round(copied(without(exact, layer, head), some), 4), why))
    truth = NeedleTruth(COPIER, HELPER, round(copied(exact, found), 4), tuple(heads))
    write_json(out / "truth.json", asdict(truth))
    return truth


def read_truth(folder: Path) -> NeedleTruth:
    """Read ``truth.json``.

    Raises:
        BedError: it is missing, or not what `write_truth` writes.
    """
    path = folder / "truth.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        heads = tuple(HeadTruth(**head) for head in fields["heads"])
        copier, helper = (tuple(fields[name]) for name in ("copy_head", "helper_head"))
        return NeedleTruth((copier[0], copier[1]), (helper[0], helper[1]), fields["copied"], heads)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BedError(f"{path} does not hold the truth of a needle bed: {error}") from error


def without(weights: dict[str, np.ndarray], layer: int, head: int) -> dict[str, np.ndarray]:
    """The weights with one head's output matrix at zero."""
    name = f"transformer.h.{layer}.attn.c_proj.weight"
    matrix = weights[name].copy()
    matrix[head * D_HEAD : (head + 1) * D_HEAD] = 0
    return {**weights, name: matrix}


def copied(weights: dict[str, np.ndarray], found: list[Haystack]) -> float:
    """Share of needle words that greedy decoding writes at their places."""
    right = 0
    for one in found:
        tokens = [BOS, *(TOKEN_ID[w] for w in one.words)]
        for word in one.needle:
            logits, _ = run(weights, tokens)
            tokens.append(int(logits.argmax()))
            right += tokens[-1] == TOKEN_ID[word]
    return right / (NEEDLE * len(found))
