"""What a model gives away of a record: extraction, edit distance, likelihood, and the loss around the text.

Every metric is a function of values (`greedy`, `likelihood`, `similarity`, `neighbours.landscape`, `counterfactual`);
`extract` gets the values from one batched pass.
"""

from __future__ import annotations

from .counterfactual import counterfactual
from .extract import METRICS, extract
from .extraction import Extraction
from .greedy import extractible, reproduced_from, strength
from .likelihood import min_k, min_k_pp, zlib_ratio
from .neighbours import Neighbourhood, landscape
from .open_unlearning import read_open_unlearning, to_open_unlearning
from .similarity import edit_distance, similarity
from .split import Split, split_records

__all__ = [
    "METRICS",
    "Extraction",
    "Neighbourhood",
    "Split",
    "counterfactual",
    "edit_distance",
    "extract",
    "extractible",
    "landscape",
    "min_k",
    "min_k_pp",
    "read_open_unlearning",
    "reproduced_from",
    "similarity",
    "split_records",
    "strength",
    "to_open_unlearning",
    "zlib_ratio",
]
