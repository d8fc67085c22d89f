"""Which columns of reports on circuits come first, and what they are called there."""

from __future__ import annotations

KEY_COLUMNS: dict[str, tuple[str, ...]] = {
    "circuit-edges": ("edge", "read_span", "use_span", "score", "sure", "frequency", "on_path"),
    "circuit": ("n_edges", "share", "faithfulness", "complement", "random", "random_max", "stability"),
    "circuit-null": (
        "search",
        "faithfulness",
        "cpr",
        "cmd",
        "jaccard",
        "stability",
        "strongest",
        "accuracy",
        "n_pairs",
    ),
    "verification": ("edge", "group", "estimated", "exact"),
    "minimality": ("edge", "loss", "needed"),
    "task": ("pair", "right", "metric", "ablated"),
}
HEADINGS: dict[str, dict[str, str]] = {
    "circuit-edges": {
        "read_span": "Read",
        "use_span": "Used",
        "score": "Score",
        "sure": "Off zero",
        "frequency": "Chosen again",
        "on_path": "On a path",
    },
    "circuit": {
        "n_edges": "Edges",
        "share": "Share",
        "faithfulness": "Faithfulness",
        "complement": "All other edges",
        "random": "Random edges",
        "random_max": "Best random",
        "stability": "Jaccard",
    },
    "circuit-null": {
        "search": "Searched",
        "faithfulness": "Faithfulness",
        "cpr": "CPR",
        "cmd": "CMD",
        "jaccard": "Jaccard with the real one",
        "stability": "Stability",
        "strongest": "Strongest",
        "accuracy": "Right answers",
        "n_pairs": "Pairs",
    },
    "verification": {"group": "Where", "estimated": "Estimated", "exact": "Exact"},
    "minimality": {"loss": "Faithfulness lost", "needed": "Needed"},
    "completeness": {"gap": "Gap"},
    "task": {"right": "Right", "metric": "Metric", "ablated": "Ablated"},
}
