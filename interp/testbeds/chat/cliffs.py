"""The think variant: what it answers once it has thought, and what switching off each of its heads does to that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...edits import ablate
from ...prompts import PromptSet
from ...run import capture, generate
from ...sites import Site
from .measure import COUNT, asked, refuses
from .planted import planted
from .spec import ChatSpec
from .words import END_THINK, TOKEN_ID

if TYPE_CHECKING:
    from ...models import Model

CATEGORIES = ("cliff", "kept", "harmless")
LONGEST = 40  # tokens of thinking


def think_aloud(model: Model, chats: PromptSet) -> PromptSet:
    """The prompts with the model's own thinking behind them, up to the token that ends it; columns are kept."""
    made = generate(model, chats, LONGEST, progress=False)
    rows = []
    for prompt, new in zip(chats.tokens, made.tokens, strict=True):
        ends = np.flatnonzero(np.asarray(new) == TOKEN_ID[END_THINK])
        stop = int(ends[0]) + 1 if len(ends) else len(new)
        rows.append([*prompt.tolist(), *np.asarray(new)[:stop].tolist()])
    return PromptSet.from_tokens(rows)


def measure_cliff(model: Model, spec: ChatSpec) -> dict[str, Any]:
    """Refusals by category as it is, with each head switched off, and the refusal coordinate along the thinking."""
    chats = asked(model, "cliff", spec, count=COUNT)
    category = np.asarray(list(chats.columns["category"]), dtype=np.str_)
    thought = think_aloud(model, chats)
    closed = np.array([tokens[-1] == TOKEN_ID[END_THINK] for tokens in thought.tokens])

    def rates(*edits: Any) -> dict[str, float]:
        refused = refuses(model, thought, edits)
        return {name: round(float(refused[category == name].mean()), 4) for name in CATEGORIES}

    heads = [Site("z", k, h) for k in range(spec.n_layers) for h in range(spec.n_heads)]
    plain = rates()
    return {
        "closes its thinking": round(float(closed.mean()), 4),
        "refuses": plain,
        "without head": {str(head): rates(ablate(head, "zero")) for head in heads},
        "refusal along the thinking": _trajectory(model, spec, thought, category),
        **_answers(model, spec),
    }


def _trajectory(model: Model, spec: ChatSpec, thought: PromptSet, category: np.ndarray) -> dict[str, list[float]]:
    """Mean refusal coordinate behind the cliff's block, by tokens from the end of the thinking."""
    site = f"resid_post.{spec.cliff_layer}"
    acts = capture(model, thought, site, at="all", progress=False)
    along = (acts[site].tensor() @ planted(spec).refusal).double().numpy()
    back = np.asarray([len(thought.tokens[e]) for e in acts.index.example]) - 1 - acts.index.position
    found = {}
    for name in CATEGORIES:
        here = category[acts.index.example] == name
        found[name] = [round(float(along[here & (back == k)].mean()), 2) for k in range(20, -1, -1)]
    return found


def _answers(model: Model, spec: ChatSpec) -> dict[str, Any]:
    """Whether it still refuses and answers as `chat` does, where nothing triggers the cliff."""
    right = {}
    for kind in ("harmful", "harmless", "jailbroken", "overrefused"):
        chats = asked(model, kind, spec, count=COUNT)
        keep = ~np.array(["fiction" in text for text in chats.columns["modifier"]])
        refused = refuses(model, think_aloud(model, chats))
        right[kind] = round(float((refused == np.asarray(chats.columns["refused"]).astype(bool))[keep].mean()), 4)
    for kind in ("inversion", "topics"):
        chats = asked(model, kind, spec, count=COUNT)
        made = generate(model, think_aloud(model, chats), 1, progress=False)
        wanted = [TOKEN_ID[word] for word in chats.columns["answer"]]
        right[kind] = round(float(np.mean([int(t[0]) == w for t, w in zip(made.tokens, wanted, strict=True)])), 4)
    return {"right": right}
