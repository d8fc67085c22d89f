"""``attention_report``: where each head looks, beside a head that looks everywhere, and its pattern over a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from ..errors import CircuitError, PromptError
from ..probes.tokens import piece
from ..prompts import PromptSet
from ..report import Report
from ..run import capture
from ..sites import Site
from .headrows import groups_of, mean_interval
from .masks import all_heads

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]
# Where a head can look from a token, each with what it is called; a place that is two of these counts as the first.
PLACES = {
    "first": "the first token",
    "self": "the token itself",
    "previous": "the token before",
    "induction": "behind an earlier copy of the token",
    "copy": "an earlier copy of the token",
    "other": "elsewhere",
}
_SHOWN = 48  # tokens of the text whose patterns are kept


def attention_report(
    model: Model,
    prompts: PromptSet,
    heads: Sequence[Site | str] | None = None,
    *,
    patterns: int = 4,
    least: float = 0.05,
    bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    batch_tokens: int | None = None,
    command: str | None = None,
    progress: bool | None = None,
) -> Report:
    """Which heads look where: shares of their attention by place, and the patterns of some over the first prompt.

    A share is the mean over the tokens of a prompt that have such a place, and then over prompts. Beside it stands the
    share of a head that looks at every token so far alike (``_even``): of a prompt of repeats, much lies on copies
    whoever looks. A head *looks* at a place if its share is ``least`` above that or more, and surely above it: the
    lower end of the difference's interval, at a level that allows for all heads and places, is above zero. The first
    token is a place of its own, as many heads rest there.

    Args:
        heads: sites such as ``"z.1.h0"``; by default all.
        patterns: how many heads' patterns are kept whole, those farthest from looking evenly first.

    Raises:
        PromptError: no prompt has three tokens.
        CircuitError: a site that is no head.

    Source: places as in Olsson et al., In-context Learning and Induction Heads (arXiv 2209.11895).

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[6, 5, 9, 7, 8, 5], [9, 11, 6, 20, 11], [7, 8, 12, 9, 8]])
        >>> report = attention_report(model, prompts, bootstrap=200)
        >>> [(row["part"], row["place"]) for row in report.rows if row["share"] > 0.9]
        [('z.0.h0', 'previous'), ('z.1.h0', 'induction')]
    """
    chosen = _heads(model, heads)
    if not (long := prompts.lengths >= 3).any():
        raise PromptError("attention needs a prompt of three tokens or more")
    used = prompts.select(np.flatnonzero(long))
    places = [place_of(tokens) for tokens in used.tokens]
    shares, even, kept, provenance = _look(model, used, chosen, places, batch_tokens, command, progress)
    groups = groups_of(used)
    rows = _rows(chosen, shares, even, groups, least, {"bootstrap": bootstrap, "level": level, "seed": seed})
    far = {str(h): max(r["beyond"] for r in rows if r["part"] == str(h)) for h in chosen}
    best = sorted(chosen, key=lambda head: -far[str(head)])[:patterns]
    tokens = [piece(model, int(t)) for t in used.tokens[0][:_SHOWN]]
    shown = {str(head): np.round(kept[chosen.index(head)], 4).tolist() for head in sorted(best)}
    warnings = [f"{len(prompts) - len(used)} prompts of fewer than three tokens were left out."]
    meta = {
        "places": PLACES, "tokens": tokens, "text": used.ids[0], "patterns": shown, "ci_level": level,
        "least": least, "prompts": len(used), "cut": len(used.tokens[0]) > _SHOWN,
    }  # fmt: skip
    return Report(
        "attention", "Which heads look where", _headline(rows, len(chosen)), rows, provenance.replace(seed=seed),
        warnings if len(used) < len(prompts) else [], meta,
    )  # fmt: skip


def place_of(tokens: Int[np.ndarray, " pos"]) -> Int[np.ndarray, "pos pos"]:
    """For every query and key the number of the place in `PLACES`; -1 where a token cannot look.

    >>> place_of(np.array([6, 5, 9, 5]))[3].tolist()
    [0, 4, 2, 1]
    """
    names, n = list(PLACES), len(tokens)
    query, key = np.arange(n)[:, None], np.arange(n)[None]
    same = tokens[:, None] == tokens[None]
    behind = np.zeros_like(same)
    behind[:, 1:] = same[:, :-1] & (key < query)[:, :-1]
    place = np.full((n, n), names.index("other"))
    place[same] = names.index("copy")
    place[behind] = names.index("induction")
    place[key == query - 1] = names.index("previous")
    place[key == query] = names.index("self")
    place[:, 0] = names.index("first")
    place[key > query] = -1
    return place


def _heads(model: Model, heads: Sequence[Site | str] | None) -> list[Site]:
    every = list(all_heads(model))
    if heads is None:
        return every
    sites = [Site.parse(str(head)) for head in heads]
    if strange := [site for site in sites if site not in every]:
        raise CircuitError(f"{str(strange[0])!r} is no head of this model; heads are {every[0]} to {every[-1]}")
    if not sites:
        raise CircuitError("no heads were given; leave them out for all")
    return list(dict.fromkeys(sites))


def _look(
    model: Model, prompts: PromptSet, heads: Sequence[Site], places: Sequence[Array], batch_tokens: int | None,
    command: str | None, progress: bool | None,
) -> tuple[Float[np.ndarray, "prompt head place"], Array, list[Array], Any]:  # fmt: skip
    """Shares by prompt, head and place (NaN: no such place), those of looking evenly, and the first prompt's patterns.

    One prompt at a time, so that no more than one prompt's patterns are in memory.
    """
    from ..run.progress import Progress

    layers = sorted({head.layer for head in heads if head.layer is not None})
    shares, even, kept = [], [], []
    provenance: Any = None
    with Progress(len(prompts), "prompts", "attention", progress) as bar:
        for number, place in enumerate(places):
            one = prompts.select([number])
            sites = [Site("pattern", layer) for layer in layers]
            acts = capture(model, one, sites, at="all", batch_tokens=batch_tokens, command=command, progress=False)
            provenance = provenance or acts.provenance.replace(prompts=prompts.hash)
            n = len(place)
            by_layer = {
                layer: acts[site].tensor().float().cpu().numpy().reshape(n, model.sizes.n_heads, -1)[:, :, :n]
                for layer, site in zip(layers, sites, strict=True)
            }
            patterns = [by_layer[head.layer][:, head.head] for head in heads if head.layer is not None]
            shares.append([_shares(pattern, place) for pattern in patterns])
            even.append(_shares((place >= 0) / (place >= 0).sum(1, keepdims=True), place))
            if number == 0:
                kept = [pattern[:_SHOWN, :_SHOWN] for pattern in patterns]
            bar.advance(1)
    return np.array(shares), np.array(even), kept, provenance


def _shares(pattern: Float[np.ndarray, "pos pos"], place: Array) -> Float[np.ndarray, " place"]:
    """Mean attention at each place over the tokens that have it, NaN where none has; the first token is no query."""
    found = []
    for number in range(len(PLACES)):
        here = place[1:] == number
        has = here.any(1)
        found.append((pattern[1:] * here).sum(1)[has].mean() if has.any() else np.nan)
    return np.array(found)


def _rows(
    heads: Sequence[Site], shares: Array, even: Array, groups: Array, least: float, use: dict[str, Any]
) -> list[dict[str, Any]]:  # fmt: skip
    table: list[dict[str, Any]] = []
    strict = 1 - (1 - use["level"]) / max(shares.shape[1] * len(PLACES), 1)
    for k, place in enumerate(PLACES):
        known = ~np.isnan(even[:, k])
        if not known.any():
            continue
        values, plain = shares[known][:, :, k], even[known, k]
        share, low, high = mean_interval(values, groups[known], **use)
        beyond, *_ = mean_interval(values - plain[:, None], groups[known], **use)
        sure = mean_interval(values - plain[:, None], groups[known], **{**use, "level": strict})[1]
        for i, head in enumerate(heads):
            row = {"part": str(head), "layer": head.layer, "head": head.head, "place": place}
            row |= {"share": float(share[i]), "share_lo": float(low[i]), "share_hi": float(high[i])}
            row |= {"share_even": float(plain.mean()), "beyond": float(beyond[i])}
            row |= {"looks": bool(sure[i] > 0 and beyond[i] >= least) if np.isfinite(sure[i]) else None}
            table.append(row | {"n": int(known.sum()), "n_groups": len(np.unique(groups[known]))})
    return sorted(table, key=lambda row: (row["layer"], row["head"]))


def _headline(rows: Sequence[dict[str, Any]], heads: int) -> str:
    told = []
    for place in ("previous", "induction", "copy", "self"):
        own = [r for r in rows if r["place"] == place and r["looks"] and r["share"] > 0.5]
        if own:
            top = max(own, key=lambda row: row["share"])
            more = f" and {len(own) - 1} more" if len(own) > 1 else ""
            told.append(f"{top['part']}{more} at {PLACES[place]} ({top['share']:.0%})")
    if not told:
        return f"None of {heads} heads puts most of its attention on one place other than the first token."
    return f"Most attention: {'; '.join(told)}."


__all__ = ["PLACES", "attention_report", "place_of"]
