"""Statistics that know about groups: AUC, cluster bootstrap, label permutations, corrections for many tests.

Everything takes and returns NumPy arrays, and draws only from the seed that it is given.
"""

from __future__ import annotations

from .bootstrap import Interval, cluster_bootstrap, replicate_interval
from .multiple import adjust
from .permutation import Permutations, max_null_p, permutation_p, permute_labels
from .scores import accuracy, auc, balanced_accuracy
from .signs import sign_flip_p

__all__ = [
    "Interval",
    "Permutations",
    "accuracy",
    "adjust",
    "auc",
    "balanced_accuracy",
    "cluster_bootstrap",
    "max_null_p",
    "permutation_p",
    "permute_labels",
    "replicate_interval",
    "sign_flip_p",
]
