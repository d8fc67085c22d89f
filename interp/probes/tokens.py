"""``token_scores``: what a probe or a direction says at every token of a text, and what it says of other texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..directions.direction import Direction
from ..errors import PromptError
from ..prompts import PromptSet
from ..report import Report
from ..run import capture
from ..stats import permutation_p
from .probe import Probe

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]


def token_scores(
    model: Model,
    probe: Probe | Direction,
    prompts: PromptSet,
    *,
    reference: PromptSet | None = None,
    level: float = 0.95,
    title: str | None = None,
    batch_tokens: int | None = None,
    command: str | None = None,
    progress: bool | None = None,
) -> Report:
    """Read a probe at every token of each prompt, beside what it says at the tokens of reference texts.

    ``reference`` are texts in which there is nothing to find. Whoever looks at every token of a text looks often, so
    the threshold is that of the highest token of a whole text: ``level`` of the reference texts stay below it.
    ``p_max`` of a token counts the reference texts that have a token as high somewhere. Control tokens of the
    tokenizer are scored and marked, but count neither in the reference nor as found.

    Args:
        probe: a probe (log odds) or a direction (projection, in units of its activations).
        reference: at least 20 texts for a threshold at 0.95; as long as the prompts, or they have fewer chances.

    Raises:
        PromptError: no prompts, or a prompt that is in the reference, too.
        SiteError: the model has no such site.

    Example:
        >>> import interp, torch
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> texts = interp.PromptSet.from_tokens([[6, 5, 9, 7]])
        >>> others = interp.PromptSet.from_tokens([[8 + i, 20, 11 + i] for i in range(20)])
        >>> one = interp.Direction.of(torch.randn(128), "resid_post.1", "last", "made up", model.provenance())
        >>> report = token_scores(model, one, texts, reference=others)
        >>> report.kind, [row["position"] for row in report.rows], 0 < report.rows[0]["p_max"] <= 1
        ('tokens', [0, 1, 2, 3], True)
    """
    if not len(prompts):
        raise PromptError("there are no prompts to read")
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "progress": progress}
    provenance, example, position, scores = _read(model, probe, prompts, options, command)
    about, null = _reference(model, probe, prompts, reference, level, options)
    chance = permutation_p(scores, null[:, None]) if len(null) else np.full(len(scores), math.nan)
    threshold = about.get("threshold", math.nan)
    rows = []
    for i, at, score, p in zip(example.tolist(), position.tolist(), scores.tolist(), chance.tolist(), strict=True):
        special = bool(prompts.special[i][at])
        row: dict[str, Any] = {"text": prompts.ids[i], "position": at}
        row |= {"token": piece(model, int(prompts.tokens[i][at])), "special": special, "score": score}
        if reference is not None:
            row |= {"p_max": p, "above": score > threshold and not special}
        rows.append(row)
    meta = about | {
        "site": str(probe.site), "mark": probe.mark, "level": level, "unit": _unit(probe), "texts": len(prompts),
        "zero": isinstance(probe, Probe),
    }  # fmt: skip
    return Report(
        "tokens", title or f"{_name(probe)} at {probe.site}, token by token", _headline(rows, meta, probe), rows,
        provenance, _warnings(probe, reference, level, prompts), meta,
    )  # fmt: skip


def piece(model: Model, token: int) -> str:
    """One token as a reader sees it: its text, or its number where there is no tokenizer."""
    if model.tokenizer is None:
        return str(token)
    return str(model.tokenizer.decode([token])).replace("\n", "\\n") or str(token)


def _read(
    model: Model, probe: Probe | Direction, prompts: PromptSet, options: dict[str, Any], command: str | None
) -> tuple[Any, Array, Array, Array]:
    acts = capture(model, prompts, [probe.site], at="all", command=command, **options)
    order = np.lexsort((acts.index.position, acts.index.example))
    scores = probe(acts[probe.site].tensor().float().cpu()).double().numpy()
    return acts.provenance, acts.index.example[order], acts.index.position[order], scores[order]


def _reference(
    model: Model, probe: Probe | Direction, prompts: PromptSet, reference: PromptSet | None, level: float,
    options: dict[str, Any],
) -> tuple[dict[str, Any], Array]:  # fmt: skip
    """What the reference says of all: thresholds and counts, and the highest score of each of its texts."""
    if reference is None:
        return {}, np.zeros(0)
    own = {t.tobytes() for t in prompts.tokens}
    if same := [name for name, t in zip(reference.ids, reference.tokens, strict=True) if t.tobytes() in own]:
        raise PromptError(f"reference text {same[0]!r} is one of the prompts, too; a null must be of other texts")
    _, example, position, scores = _read(model, probe, reference, options, None)
    plain = np.array([not reference.special[i][at] for i, at in zip(example, position, strict=True)])
    highest = np.array([scores[plain & (example == i)].max() for i in np.unique(example[plain])])
    if not len(highest):
        raise PromptError("the reference texts hold nothing but control tokens")
    about = {
        # "higher": the threshold is a score that some reference text has, never one between two of them.
        "threshold": float(np.quantile(highest, level, method="higher")),
        "threshold_one": float(np.quantile(scores[plain], level, method="higher")),
        "reference_texts": len(highest), "reference_tokens": int(plain.sum()),
        "reference_length": float(plain.sum() / len(highest)), "min_p": 1 / (1 + len(highest)),
    }  # fmt: skip
    return about, highest


def _unit(probe: Probe | Direction) -> str:
    return f"log odds of '{probe.classes[1]}'" if isinstance(probe, Probe) else "projection"


def _name(probe: Probe | Direction) -> str:
    if isinstance(probe, Probe):
        return f"'{probe.classes[1]}' against '{probe.classes[0]}'"
    return f"Direction ({probe.method})"


def _headline(rows: Sequence[dict[str, Any]], meta: dict[str, Any], probe: Probe | Direction) -> str:
    plain = [row for row in rows if not row["special"]] or list(rows)
    top = max(plain, key=lambda row: row["score"])
    where = f"token {top['position']} ({top['token'].strip()!r}) of {top['text']!r}"
    if "threshold" not in meta:
        return f"{_name(probe)} is highest at {where}; without reference texts, nothing says whether that is high."
    found = [row for row in rows if row["above"]]
    texts = len({row["text"] for row in found})
    null = f"what {meta['level']:.0%} of {meta['reference_texts']} reference texts stay below ({meta['threshold']:.2g})"
    if not found:
        return f"No token of {meta['texts']} texts is above {null}; the highest is {where}, p = {top['p_max']:.2g}."
    return f"{len(found)} tokens in {texts} of {meta['texts']} texts are above {null}; the highest is {where}."


def _warnings(
    probe: Probe | Direction, reference: PromptSet | None, level: float, prompts: PromptSet
) -> list[str]:  # fmt: skip
    told = []
    if probe.mark not in ("all", ""):
        told.append(
            f"The probe was fitted at the mark '{probe.mark}'; at other tokens it reads what it was never shown."
        )
    if reference is None:
        told.append("No reference texts: the scores have no null, and no token counts as found.")
        return told
    if len(reference) < math.ceil(1 / (1 - level)):
        told.append(
            f"{len(reference)} reference texts are too few for a threshold at {level:g}: it is their highest score."
        )
    if float(np.mean(reference.lengths)) < 0.7 * float(np.mean(prompts.lengths)):
        told.append(
            "The reference texts are shorter than the prompts, so their highest token had fewer chances to be high."
        )
    return told


__all__ = ["piece", "token_scores"]
