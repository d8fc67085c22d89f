"""Which columns of reports on tokens, heads' attention and grids come first, and what they are called there."""

from __future__ import annotations

KEY_COLUMNS: dict[str, tuple[str, ...]] = {
    "probe-grid": ("site", "mark", "auc", "null_auc_hi", "p_max", "untrained_auc", "bow_auc", "inputs", "n"),
    "sweep": ("site", "mark", "C", "auc", "seeds", "auc_lowest", "null_auc_hi", "p", "p_max", "p_sweep", "n"),
    "boundary": ("site", "mark", "silhouette", "margin", "overlap", "p", "p_max", "silhouette_after", "n"),
    "tokens": ("text", "position", "token", "score", "p_max", "above"),
    "token-attribution": ("text", "position", "token", "answer", "score", "threshold", "p_max", "above"),
    "attention": ("part", "place", "share", "share_even", "beyond", "looks", "n"),
    "sae": ("dictionary", "explained", "recovered", "l0", "dead"),
    "latents": ("latent", "group", "score", "exact"),
}
_TOKENS = {
    "text": "Text",
    "position": "Number",
    "token": "Token",
    "score": "Score",
    "p_max": "p, whole text",
    "above": "Above threshold",
    "answer": "Answer",
    "threshold": "Threshold",
}
HEADINGS: dict[str, dict[str, str]] = {
    "probe-grid": {"p_max": "p, best of all cells", "p": "p, this cell", "inputs": "Different inputs"},
    "sweep": {
        "C": "C",
        "seeds": "Seeds",
        "auc_lowest": "Lowest seed",
        "p": "p, this cell",
        "p_max": "p, best of all cells",
        "p_sweep": "p, best of the sweep",
    },
    "boundary": {
        "silhouette": "Silhouette",
        "margin": "Margin",
        "overlap": "Neighbours of the other kind",
        "silhouette_after": "Silhouette after",
    },
    "tokens": _TOKENS,
    "token-attribution": _TOKENS,
    "sae": {
        "dictionary": "Dictionary",
        "explained": "Variance explained",
        "l0": "Active per token",
        "dead": "Never active",
        "latents": "Latents",
        "recovered": "Loss recovered",
        "loss": "Loss, nats per token",
    },
    "latents": {"latent": "Latent", "group": "Chosen as", "score": "Estimate", "exact": "Exact"},
    "attention": {
        "part": "Head",
        "place": "Looks at",
        "share": "Share",
        "share_even": "If it looked everywhere",
        "beyond": "Beyond that",
        "looks": "Surely",
    },
}
