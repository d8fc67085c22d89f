"""Which of the 81 edges of the `induction` bed matter: by exact patching, edge by edge, in double precision.

An edge carries what one node wrote into one input of another. Its effect is measured by giving that one input what the
node writes on the counterfactual prompt and computing everything behind it again. The measure is the answer's lead in
logits over the counterfactual answer: 0 means that it stays, 1 that it becomes what it is on the counterfactual, and
1/2 that neither answer leads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import BedError
from .prompts import DemoPrompt, counterfactual
from .weights import D_HEAD, D_MODEL, N_HEADS, N_LAYERS, NORM_EPS, InductionSpec
from .words import BOS, TOKEN_ID, write_json

TRUE_EDGES = ("input->a0.h0<v>", "a0.h0->a1.h0<k>", "input->a1.h0<v>", "a1.h0->logits")
COUNTERFACTUAL = "the same words in another order with the last one kept, so that another word is the answer"
N_MEASURED = 12  # prompts that the effects are averaged over


@dataclass(frozen=True)
class EdgeTruth:
    """One edge, whether it is in the circuit, its measured effect (0 none, 1 as on the counterfactual), and why."""

    name: str
    true: bool
    effect: float
    why: str


@dataclass(frozen=True)
class InductionTruth:
    """What was planted. ``edges`` holds against ``counterfactual``; the label can be read at ``label_sites`` only."""

    edges: tuple[EdgeTruth, ...]
    counterfactual: str
    label_mark: str
    label_sites: tuple[str, ...]
    previous_token_head: tuple[int, int]
    induction_head: tuple[int, int]


@dataclass(frozen=True)
class Patch:
    """Give ``target`` (a head and one of its inputs, or the logits) what ``source`` writes in another run."""

    source: str
    target: str
    value: np.ndarray


def edge_names() -> Iterator[tuple[str, str]]:
    """Every (source, target) of the graph: 12 + 12 from the input, 48 between heads, 9 into the logits."""
    heads = [f"a{layer}.h{head}" for layer in range(N_LAYERS) for head in range(N_HEADS)]
    for target in heads:
        for source in ["input", *(h for h in heads if h[1] < target[1])]:
            yield from ((source, f"{target}<{part}>") for part in "qkv")
    yield from ((source, "logits") for source in ["input", *heads])


def run(
    weights: dict[str, np.ndarray], tokens: list[int], patch: Patch | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits at the last position, and what each node writes ``[pos, d_model]``, from weights in float64.

    A second implementation of the forward pass, by nodes and edges; the tests hold it against the checkpoint's own.
    """
    wrote = {"input": weights["transformer.wte.weight"][tokens] + weights["transformer.wpe.weight"][: len(tokens)]}
    later = np.triu(np.ones((len(tokens), len(tokens)), bool), 1)
    for layer in range(N_LAYERS):
        block = f"transformer.h.{layer}"
        qkv, bias = weights[f"{block}.attn.c_attn.weight"], weights[f"{block}.attn.c_attn.bias"]
        out = weights[f"{block}.attn.c_proj.weight"]
        new = {}
        for head in range(N_HEADS):
            name, rows = f"a{layer}.h{head}", slice(head * D_HEAD, (head + 1) * D_HEAD)
            columns = [slice(start + rows.start, start + rows.stop) for start in (0, D_MODEL, 2 * D_MODEL)]
            q, k, v = (
                _read(wrote, f"{name}<{part}>", weights[f"{block}.ln_1.weight"], patch) @ qkv[:, at] + bias[at]
                for part, at in zip("qkv", columns, strict=True)
            )
            scores = np.where(later, -np.inf, q @ k.T / np.sqrt(D_HEAD))
            pattern = np.exp(scores - scores.max(-1, keepdims=True))
            new[name] = pattern / pattern.sum(-1, keepdims=True) @ v @ out[rows]
        wrote |= new
    return _read(wrote, "logits", weights["transformer.ln_f.weight"], patch)[-1] @ weights["lm_head.weight"].T, wrote


def _read(wrote: dict[str, np.ndarray], target: str, gain: np.ndarray, patch: Patch | None) -> np.ndarray:
    """What ``target`` reads: the normed sum of all that was written before it, with the patch if it is meant."""
    stream = np.sum(list(wrote.values()), axis=0)
    if patch is not None and patch.target == target:
        stream = stream - wrote[patch.source] + patch.value
    centred = stream - stream.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + NORM_EPS) * gain


def edge_effects(weights: dict[str, np.ndarray], prompts: list[tuple[str, ...]]) -> dict[str, float]:
    """Edge -> mean effect over the prompts, each against its counterfactual with the same seed every time."""
    exact = {name: w.astype(np.float64) for name, w in weights.items()}
    total = {f"{source}->{target}": 0.0 for source, target in edge_names()}
    for number, words in enumerate(prompts):
        other = counterfactual(words, seed=number)
        right, wrong = (TOKEN_ID[w[w.index(w[-1]) + 1]] for w in (words, other))
        tokens, other_tokens = ([BOS, *(TOKEN_ID[w] for w in line)] for line in (words, other))
        clean, _ = run(exact, tokens)
        corrupted, wrote = run(exact, other_tokens)
        scale = (clean[right] - clean[wrong]) - (corrupted[right] - corrupted[wrong])
        for source, target in edge_names():
            logits, _ = run(exact, tokens, Patch(source, target, wrote[source]))
            change = (clean[right] - clean[wrong]) - (logits[right] - logits[wrong])
            total[f"{source}->{target}"] += abs(change / scale) / len(prompts)
    return total


def answer_chances(weights: dict[str, np.ndarray], prompts: list[DemoPrompt]) -> np.ndarray:
    """The probability that the model gives each prompt's answer."""
    exact = {name: w.astype(np.float64) for name, w in weights.items()}
    chances = []
    for prompt in prompts:
        logits, _ = run(exact, [BOS, *(TOKEN_ID[w] for w in prompt.words)])
        chances.append(np.exp(logits[TOKEN_ID[prompt.answer]] - logits.max()) / np.exp(logits - logits.max()).sum())
    return np.array(chances)


def write_truth(
    out: Path, spec: InductionSpec, weights: dict[str, np.ndarray], prompts: list[DemoPrompt]
) -> InductionTruth:
    """Measure every edge and write ``truth.json``."""
    effects = edge_effects(weights, [p.words for p in prompts[:: len(prompts) // N_MEASURED][:N_MEASURED]])
    edges = tuple(
        EdgeTruth(name, name in TRUE_EDGES, round(effects[name], 4), _why(source, target, spec.epsilon))
        for source, target in edge_names()
        for name in [f"{source}->{target}"]
    )
    truth = InductionTruth(edges, COUNTERFACTUAL, "last", ("attn_out.1", "resid_mid.1", "resid_post.1"), (0, 0), (1, 0))
    write_json(out / "truth.json", asdict(truth))
    return truth


def read_truth(folder: Path) -> InductionTruth:
    """Read ``truth.json``.

    Raises:
        BedError: it is missing, or not what `write_truth` writes.
    """
    path = folder / "truth.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return InductionTruth(
            edges=tuple(EdgeTruth(**edge) for edge in fields["edges"]),
            counterfactual=fields["counterfactual"],
            label_mark=fields["label_mark"],
            label_sites=tuple(fields["label_sites"]),
            previous_token_head=tuple(fields["previous_token_head"]),
            induction_head=tuple(fields["induction_head"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BedError(f"{path} does not hold the truth of an induction bed: {error}") from error


def _why(source: str, target: str, epsilon: float) -> str:
    """Why an edge is in the circuit or not, from what was written by hand."""
    name = f"{source}->{target}"
    why = {
        "input->a0.h0<v>": "head (0,0) copies the token before into prev, and other tokens stand there",
        "a0.h0->a1.h0<k>": "prev tells head (1,0) which position the last word was followed at",
        "input->a1.h0<v>": "head (1,0) copies the word that it finds, and another word stands there",
        "a1.h0->logits": "the logits read out, which head (1,0) alone writes",
        "input->a0.h0<q>": "head (0,0) asks by position, and positions do not change",
        "input->a0.h0<k>": "head (0,0) looks by position, and positions do not change",
        "input->a1.h0<q>": "head (1,0) asks for the last word, which the counterfactual keeps",
        "input->a1.h0<k>": "head (1,0) looks in prev, and away from the first position; neither changes with the words",
        "input->logits": "the logits read out, where the embedding writes nothing",
        "a0.h0->logits": "the logits read out, and head (0,0) writes prev",
        "a0.h0->a1.h0<q>": "head (1,0) asks with tok, and head (0,0) writes prev",
        "a0.h0->a1.h0<v>": "head (1,0) copies tok, and head (0,0) writes prev",
    }.get(name)
    if why is not None:
        return why
    idle = source if source not in ("input", "a0.h0", "a1.h0") else target.split("<")[0]
    why = f"head {idle} writes junk, which neither the circuit nor the logits read"
    return why if epsilon == 0 else f"{why}, but for a leak of {epsilon}"
