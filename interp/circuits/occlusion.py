"""``token_attribution``: what each token of a text adds to an answer, by putting other tokens in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from ..errors import CircuitError
from ..probes.tokens import piece
from ..prompts import PromptSet
from ..report import Report
from ..run import forward
from ..stats import permutation_p
from .headtokens import answer_tokens

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]


def token_attribution(
    model: Model,
    prompts: PromptSet,
    answers: str | Sequence[int],
    *,
    draws: int = 8,
    targets: int = 39,
    level: float = 0.95,
    seed: int = 0,
    batch_tokens: int | None = None,
    command: str | None = None,
    progress: bool | None = None,
) -> Report:
    """How much of an answer's log probability each token of a text carries, in nats.

    A token's score is log p(answer) after the text minus its mean with other tokens in that one place: exact, no
    gradient. Whoever looks at every token looks often, and some tokens matter to whatever comes next; so the null is
    the highest token's score for other answers, ``targets`` of them drawn from the tokens of these prompts, over the
    same runs. ``p_max`` counts those that have a token as high. Control tokens are left as they are and have no score.

    Args:
        answers: a field of the prompts (a text, whose first token counts), or a token id for each prompt.
        draws: how many other tokens are tried in each place, drawn from the prompts' own.
        targets: other answers; 39 make p = 0.025 possible.

    Raises:
        CircuitError: prompts with fewer than ``targets`` + 2 distinct tokens between them to draw from, or answers that
            do not fit the prompts.

    Source: occlusion, as in Zeiler & Fergus (arXiv 1311.2901), with resampled tokens in place of grey.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[6, 5, 9, 7, 8, 5]])
        >>> report = token_attribution(model, prompts, [9], draws=3, targets=3)
        >>> [row["position"] for row in report.rows if row["above"]]
        [2, 5]
    """
    ids = _answers(model, prompts, answers)
    pool = np.unique(np.concatenate([t[~s] for t, s in zip(prompts.tokens, prompts.special, strict=True)]))
    if len(pool) < targets + 2:
        raise CircuitError(
            f"these prompts have {len(pool)} distinct tokens, and {targets} other answers are to be drawn from them; "
            "give more prompts, or fewer targets"
        )
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "progress": progress}
    plain = _log_p(model, prompts.tokens, options)
    rows: list[dict[str, Any]] = []
    highest = []
    for i, (name, tokens, special) in enumerate(zip(prompts.ids, prompts.tokens, prompts.special, strict=True)):
        places = np.flatnonzero(~special)
        drop = plain[i][None] - _replaced(model, tokens, places, pool, draws, rng, options)
        others = rng.permutation(pool[pool != ids[i]])[:targets]
        null = drop[:, others].max(0)
        highest.append(null)
        p = permutation_p(drop[:, ids[i]], null[:, None])
        limit = float(np.quantile(null, level, method="higher")) if targets else np.nan
        scores = dict(zip(places.tolist(), zip(drop[:, ids[i]].tolist(), p.tolist(), strict=True), strict=True))
        for at, token in enumerate(tokens.tolist()):
            row: dict[str, Any] = {"text": name, "position": at, "token": piece(model, token)}
            row |= {"special": bool(special[at]), "answer": piece(model, int(ids[i]))}
            if at in scores:
                score, chance = scores[at]
                row |= {"score": score, "p_max": chance, "threshold": limit, "above": score > max(limit, 0.0)}
            rows.append(row)
    meta = {
        "unit": "nats of log p(answer)", "draws": draws, "targets": targets, "level": level, "texts": len(prompts),
        "log_p": [float(plain[i, k]) for i, k in enumerate(ids)], "zero": True,
        "threshold": max(float(np.quantile(n, level, method="higher")) for n in highest) if targets else None,
        "min_p": 1 / (1 + targets),
    }  # fmt: skip
    provenance = model.provenance(
        prompts=prompts.hash, seed=seed, command=command, bos=prompts.source.bos_summary,
        tokenizer=prompts.source.tokenizer,
    )  # fmt: skip
    title = "What each token adds to the answer"
    return Report("token-attribution", title, _headline(rows), rows, provenance, _warnings(targets, level), meta)


def _answers(model: Model, prompts: PromptSet, answers: str | Sequence[int]) -> Int[np.ndarray, " prompt"]:
    if isinstance(answers, str):
        return np.array([int(t[0]) for t in answer_tokens(model, prompts, answers)])
    ids = np.asarray(answers, np.int64)
    if ids.shape != (len(prompts),):
        raise CircuitError(f"{len(prompts)} prompts need as many answers, got {ids.shape}")
    return ids


def _replaced(
    model: Model, tokens: Array, places: Array, pool: Array, draws: int, rng: np.random.Generator,
    options: dict[str, Any],
) -> Float[np.ndarray, "place vocab"]:  # fmt: skip
    """Mean log probabilities behind the text with each place's token replaced."""
    texts = []
    for place in places:
        for other in rng.choice(pool[pool != tokens[place]], draws, replace=draws >= len(pool)):
            text = tokens.copy()
            text[place] = other
            texts.append(text)
    return _log_p(model, texts, options).reshape(len(places), draws, -1).mean(1)


def _log_p(model: Model, texts: Sequence[Array], options: dict[str, Any]) -> Float[np.ndarray, "text vocab"]:
    found = forward(model, PromptSet.from_tokens([t.tolist() for t in texts]), **options)
    order = np.argsort(found.index.example, kind="stable")
    return np.asarray(found.logits[order].double().log_softmax(-1).cpu().numpy())


def _headline(rows: Sequence[dict[str, Any]]) -> str:
    scored = [row for row in rows if "score" in row]
    top = max(scored, key=lambda row: row["score"])
    where = f"{top['token'].strip()!r} (token {top['position']} of {top['text']!r})"
    found = [row for row in scored if row["above"]]
    if not found:
        return f"No token adds more to the answer than some token adds to other answers; the highest is {where}."
    return (
        f"{len(found)} of {len(scored)} tokens add more to the answer than any token adds to most other answers; most, "
        f"{top['score']:.2g} nats, comes from {where}."
    )


def _warnings(targets: int, level: float) -> list[str]:
    if targets and 1 / (1 + targets) <= 1 - level:
        return []
    return [f"{targets} other answers are too few for a threshold at {level:g}: it is their highest score."]


__all__ = ["token_attribution"]
