"""What the trained models do, on requests that none of them was trained on: behaviour, where it can be read, causes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from ...edits import Edit, ablate, add
from ...prompts import PromptSet, load_prompts
from ...run import capture, forward
from ...stats import auc
from .planted import planted, topic_gram
from .rows import MARKS, prompts
from .spec import ChatSpec
from .variants import FOLDERS
from .words import CONTEXTS, REFUSAL_FIRST, TOKEN_ID, TOPIC_NAMES

if TYPE_CHECKING:
    from ...models import Model

QUADRANTS = ("harmful", "harmless", "jailbroken", "overrefused")
REQUEST = ("request_start", "request_end")
COUNT = 96
RIGHT = 300  # prompts of each quadrant, and of each kind of context, that behaviour is told from


def measure(out: Path, spec: ChatSpec) -> dict[str, Any]:
    """Everything that the card tells, for the models in ``out``."""
    from ...models import load_model
    from .cliffs import measure_cliff

    models = {variant: load_model(out / folder, device="cpu") for variant, folder in FOLDERS.items()}
    chat = models["chat"]
    return {
        "behaviour": {v: behaviour(model, spec) for v, model in models.items() if v != "think"},
        "decodable": {v: decodable(models[v], spec) for v in ("chat", "tuned", "never")},
        "directions": {v: directions(models[v], spec) for v in ("chat", "think", "tuned", "never")},
        "causes": causes(chat, spec),
        "topics": topics(chat, spec),
        "cliff": measure_cliff(models["think"], spec),
    }


def asked(model: Model, kind: str, spec: ChatSpec, *, split: str = "test", count: int = COUNT) -> PromptSet:
    """Prompts of a kind, encoded for a model."""
    rows = prompts(kind, count, split=split, bed_seed=spec.seed)
    return load_prompts(rows, model.tokenizer, marks=None if kind == "neutral" else MARKS)


def refuses(model: Model, chats: PromptSet, edits: Sequence[Edit] = ()) -> Bool[np.ndarray, " prompt"]:
    """Whether the first token is more likely a refusal's than not."""
    p = forward(model, chats, edits=edits, progress=False).logits.double().softmax(-1)
    return (p[:, [TOKEN_ID[word] for word in REFUSAL_FIRST]].sum(-1) > 0.5).numpy()


def says_yes(model: Model, chats: PromptSet, edits: Sequence[Edit] = ()) -> Float[np.ndarray, " prompt"]:
    """P(yes) - P(no) at the first token."""
    p = forward(model, chats, edits=edits, progress=False).logits.double().softmax(-1)
    return (p[:, TOKEN_ID["yes"]] - p[:, TOKEN_ID["no"]]).numpy()


def behaviour(model: Model, spec: ChatSpec, count: int = RIGHT) -> dict[str, float]:
    """Shares of right answers: refused as the file says, by quadrant and context; questions; facts."""
    right = {}
    for kind in QUADRANTS:
        chats = asked(model, kind, spec, count=count)
        right[kind] = _share(refuses(model, chats) == _column(chats, "refused"))
    crossed = asked(model, "contexts", spec, count=count * len(CONTEXTS))
    good = refuses(model, crossed) == _column(crossed, "refused")
    for context in dict.fromkeys(crossed.columns["context"]):
        here = _text(crossed, "context") == context
        for harmful in (1, 0):
            name = f"{'harmful' if harmful else 'harmless'}, {context}"
            right[name] = _share(good[here & (_column(crossed, "harmful") == harmful)])
    inversion = asked(model, "inversion", spec, count=count)
    right["inversion"] = _share((says_yes(model, inversion) > 0) == _column(inversion, "harmful"))
    topic = asked(model, "topics", spec, count=count)
    chosen = forward(model, topic, progress=False).logits.argmax(-1).numpy()
    right["topics"] = _share(chosen == [TOKEN_ID[word] for word in topic.columns["answer"]])
    right["facts"] = _facts_right(model, spec)
    return right


def _facts_right(model: Model, spec: ChatSpec) -> float:
    """The share of facts whose last word, behind "it is", is the model's first choice."""
    chats = asked(model, "neutral", spec, count=24)
    at = chats.marks["t_post"] + 3
    rows = [tokens.tolist() for tokens in chats.tokens]
    before = PromptSet.from_tokens([row[:k] for row, k in zip(rows, at, strict=True)])
    chosen = forward(model, before, progress=False).logits.argmax(-1).numpy()
    return _share(chosen == [row[k] for row, k in zip(rows, at, strict=True)])


def decodable(model: Model, spec: ChatSpec) -> dict[str, list[float]]:
    """AUC by depth (0 is the embedding) of harm and refusal, crossed, along train requests' mean differences."""
    train, test = (_quadrants(model, spec, split) for split in ("train", "test"))
    found: dict[str, list[float]] = {}
    for mark in ("t_inst", "t_post"):
        for name, of in (("harmful", 0), ("refused", 1)):
            scores = []
            for depth in range(spec.n_layers + 1):
                x, y = train[mark][depth], train["labels"][of]
                unit = x[y].mean(0) - x[~y].mean(0)
                scores.append(round(float(auc((test[mark][depth] @ unit).numpy(), test["labels"][of].numpy())), 3))
            found[f"{name} at {mark}"] = scores
    return found


def directions(model: Model, spec: ChatSpec) -> dict[str, list[Any]]:
    """By depth: cosines of mean differences with what is planted, and their lengths; refusal on plain requests."""
    vectors = planted(spec)
    train = _quadrants(model, spec, "train")
    n = len(train["labels"][0]) // 4
    found: dict[str, list[Any]] = {"refusal": [], "refusal, crossed": [], "harm": [], "harm, crossed": []}
    for depth in range(spec.n_layers + 1):
        post, inst = train["t_post"][depth], train["t_inst"][depth]
        harmful, refused = train["labels"]
        found["refusal"].append(_against(post[:n].mean(0) - post[n : 2 * n].mean(0), vectors.refusal))
        found["refusal, crossed"].append(_against(post[refused].mean(0) - post[~refused].mean(0), vectors.refusal))
        found["harm"].append(_against(inst[:n].mean(0) - inst[n : 2 * n].mean(0), vectors.harm))
        found["harm, crossed"].append(_against(inst[harmful].mean(0) - inst[~harmful].mean(0), vectors.harm))
    return found


def causes(model: Model, spec: ChatSpec) -> list[dict[str, Any]]:
    """What ablating and adding the planted vectors does, beside random vectors of the same length."""
    vectors = planted(spec)
    chats = {kind: asked(model, kind, spec) for kind in ("harmful", "harmless", "overrefused")}
    chats["inversion"] = asked(model, "inversion", spec, count=240)
    effects = partial(_effects, model, spec, chats)
    rows = [effects("refusal", vectors.refusal), effects("harm", vectors.harm)]
    generator = torch.Generator().manual_seed(spec.seed)
    noise = [torch.randn(spec.d_model, generator=generator) for _ in range(5)]
    random, none = [effects("random", normalize(x, dim=0)) for x in noise], effects("none", None)
    mean = {name: round(float(np.mean([r[name] for r in random])), 3) for name in none if name != "vector"}
    most = {name: max((r[name] for r in random), key=lambda x, n=name: abs(x - none[n])) for name in mean}
    return [*rows, {"vector": "random, mean of 5", **mean}, {"vector": "random, furthest", **most}, none]


def topics(model: Model, spec: ChatSpec) -> dict[str, Any]:
    """The topics' Gram matrix as learned at the end of requests, and its correlation with the planted one."""
    chats = asked(model, "topics", spec, count=360)
    acts = capture(model, chats, "resid_post", at="request_end", progress=False)
    names, harmful = _text(chats, "topic"), _column(chats, "harmful")
    off = np.triu_indices(len(TOPIC_NAMES), 1)
    rows, learned = [], []
    for layer in range(spec.n_layers):
        x = acts[f"resid_post.{layer}"].tensor().double().numpy()
        topic = np.stack([x[names == n].mean(0) for n in TOPIC_NAMES])
        harm = np.stack([x[(names == n) & harmful].mean(0) - x[(names == n) & ~harmful].mean(0) for n in TOPIC_NAMES])
        made = {}
        for what, means in (("topic", topic), ("harm within topic", harm)):
            gram = _cosines(means)
            made[f"{what}: correlation"] = round(float(np.corrcoef(gram[off], topic_gram()[off])[0, 1]), 3)
            made[f"{what}: largest deviation"] = round(float(abs(gram - topic_gram()).max()), 3)
            if layer == spec.harm_layer and what == "topic":
                learned = gram.round(3).tolist()
        rows.append({"layer": layer, **made})
    return {"layers": rows, "learned": learned, "planted": topic_gram().round(3).tolist()}


def _effects(
    model: Model, spec: ChatSpec, chats: dict[str, PromptSet], name: str, unit: Tensor | None
) -> dict[str, Any]:
    sites = [f"{kind}.{k}" for k in range(spec.n_layers) for kind in ("resid_pre", "attn_out", "mlp_out")]
    out = [] if unit is None else [ablate(site, "direction", unit) for site in sites]
    harm_site, refusal_site = f"resid_post.{spec.harm_layer}", f"resid_post.{spec.refusal_layer}"

    def more(site: str, at: Any, sign: int = 1) -> list[Edit]:
        return [] if unit is None else [add(site, unit, sign * spec.strength, at=at)]

    inversion, harmless = chats["inversion"], chats["harmless"]
    harmful = _column(inversion, "harmful")
    plus = says_yes(model, inversion, more(harm_site, REQUEST)) > 0
    minus = says_yes(model, inversion, more(harm_site, REQUEST, -1)) > 0
    return {
        "vector": name,
        "refuses harmful, ablated": _share(refuses(model, chats["harmful"], out)),
        "refuses overrefused, ablated": _share(refuses(model, chats["overrefused"], out)),
        "refuses harmless, added at all tokens": _share(refuses(model, harmless, more(refusal_site, "all"))),
        "refuses harmless, added at t_post": _share(refuses(model, harmless, more(refusal_site, "t_post"))),
        "refuses harmless, added to request": _share(refuses(model, harmless, more(harm_site, REQUEST))),
        "yes to harmless, added to request": _share(plus[~harmful]),
        "yes to harmful, subtracted from request": _share(minus[harmful]),
    }


def _quadrants(model: Model, spec: ChatSpec, split: str) -> dict[str, Any]:
    """Rows by mark and depth of the four quadrants, equally many of each, in the order of `QUADRANTS`."""
    found: dict[str, Any] = {"t_inst": [], "t_post": []}
    sites = ["resid_pre.0", *(f"resid_post.{k}" for k in range(spec.n_layers))]
    parts = [asked(model, kind, spec, split=split) for kind in QUADRANTS]
    for mark in ("t_inst", "t_post"):
        acts = [capture(model, part, sites, at=mark, progress=False) for part in parts]
        found[mark] = [torch.cat([a[site].tensor() for a in acts]).double() for site in sites]
    labels = [np.concatenate([_column(part, name) for part in parts]) for name in ("harmful", "refused")]
    found["labels"] = [torch.from_numpy(label) for label in labels]
    return found


def _against(difference: Tensor, unit: Tensor) -> list[float]:
    length = float(difference.norm())
    cosine = float(difference @ unit.double()) / length if length > 1e-9 else 0.0
    return [round(cosine, 4), round(length, 3)]


def _cosines(means: Float[np.ndarray, "topic d"]) -> Float[np.ndarray, "topic topic"]:
    centred = means - means.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit @ unit.T


def _column(chats: PromptSet, name: str) -> Bool[np.ndarray, " prompt"]:
    return np.asarray(chats.columns[name]).astype(bool)


def _text(chats: PromptSet, name: str) -> np.ndarray:
    return np.asarray(list(chats.columns[name]), dtype=np.str_)


def _share(hits: Any) -> float:
    return round(float(np.mean(hits)), 4)
