"""The weights of the `needle` bed: those of `induction` with the heads elsewhere and two decoys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..induction.weights import (
    D_HEAD,
    D_MODEL,
    GRID,
    N_HEADS,
    N_IDENTITY,
    N_LAYERS,
    NORM_WEIGHT,
    UNEMBED_GAIN,
    InductionSpec,
    _block,
    _Head,
    _idle_head,
    _induction_head,
    _narrow,
    _position_codes,
    _previous_token_head,
    _query_and_key_size,
    _subspaces,
    _word_codes,
    write_model,
)  # fmt: skip
from ..induction.words import write_json

HELPER, COPIER, LOOKER, SELF = (0, 3), (1, 2), (1, 1), (1, 0)


@dataclass(frozen=True)
class NeedleSpec:
    """Everything that the weights depend on."""

    seed: int = 0
    beta: float = 12.0


def make_weights(spec: NeedleSpec) -> dict[str, np.ndarray]:
    """The state dict as float32 arrays, under GPT-2's names.

    >>> make_weights(NeedleSpec())["transformer.h.1.attn.c_proj.weight"].shape
    (128, 128)
    """
    random = np.random.RandomState(spec.seed + 1000)  # not the words' codes of the induction bed
    basis = _subspaces(random)
    codes = _word_codes(random)
    weights = {
        "transformer.wte.weight": codes @ basis["tok"].T,
        "transformer.wpe.weight": _position_codes() @ basis["pos"].T,
        "transformer.ln_f.weight": np.full(D_MODEL, NORM_WEIGHT),
        "transformer.ln_f.bias": np.zeros(D_MODEL),
        "lm_head.weight": UNEMBED_GAIN * codes @ basis["out"].T,
    }
    for layer in range(N_LAYERS):
        heads = [_idle_head(random, basis, 0.0) for _ in range(N_HEADS)]
        if layer == HELPER[0]:
            heads[HELPER[1]] = _previous_token_head(basis, spec.beta)
        else:
            copier = _induction_head(basis, spec.beta)
            junk = _narrow(basis["junk"]).T
            heads[COPIER[1]] = copier
            heads[LOOKER[1]] = _half_sighted(copier, junk)
            heads[SELF[1]] = _own_word(basis, spec.beta, junk)
        weights |= _block(f"transformer.h.{layer}", heads)
    return {name: (np.round(w / GRID) * GRID).astype(np.float32) for name, w in weights.items()}


def _half_sighted(copier: _Head, junk: np.ndarray) -> _Head:
    """Looks where the copy head looks, but knows only every other axis of words; writes into junk."""
    seen = np.arange(D_HEAD) % 2 == 0
    seen[N_IDENTITY] = True  # and keeps off the first position
    return _Head(copier.q * seen, copier.k * seen, copier.v, junk, copier.q_bias)


def _own_word(basis: dict[str, np.ndarray], beta: float, junk: np.ndarray) -> _Head:
    """Looks at the word itself, here and where it stood before; writes into junk."""
    tok = _query_and_key_size(beta) * _narrow(basis["tok"][:, :N_IDENTITY])
    return _Head(tok, tok, _narrow(basis["tok"]), junk)


def write_needle_model(out: Path, spec: NeedleSpec, weights: dict[str, np.ndarray]) -> None:
    """Write ``config.json`` and ``model.safetensors``."""
    write_model(out, InductionSpec(seed=spec.seed, beta=spec.beta), weights)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["interp_testbed"] = {"name": "needle", "seed": spec.seed, "beta": spec.beta}
    write_json(out / "config.json", config)
