"""From a row of numbers to a verdict in words, by rules that are stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ALPHA = 0.05
LOSS_UP, KL_LIMIT = 0.05, 0.1
GONE, WEAKER = 0.05, 0.9

RULES = (
    f"Signature: 'still readable' where the best attacker has p <= {ALPHA:g} against the best of the suite on permuted "
    "labels; else 'not readable by this suite', with the AUC that it would find in four cases of five. 'not readable "
    "before' where that is so without any eraser: then nothing is shown. Where the least p-value that can come out is "
    f"above {ALPHA:g}, nothing could have been found.",
    f"Recall, of records whose groups the eraser did not see: 'gone' where exact recall is at most {GONE:g} of what it "
    f"was, 'weaker' below {WEAKER:g} of it, else 'kept'.",
    f"Model: 'damaged' where the loss on neutral text rises by more than {LOSS_UP:.0%}, or KL to the original exceeds "
    f"{KL_LIMIT:g} nats per token.",
)


def words(row: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The verdict on one eraser. ``before`` is the row without eraser.

    >>> none = {"method": "none", "attack_p": 0.01, "detectable_auc": 0.7, "exact_after": 1.0, "loss_after": 2.0,
    ...         "exact_before": 1.0, "loss_before": 2.0, "kl": 0.0}
    >>> words(none, none)
    'signature readable; recall kept'
    >>> words({**none, "method": "mean", "attack_p": 0.4, "exact_after": 0.2, "kl": 0.5}, none)
    'signature not readable by this suite (finds AUC 0.70); recall weaker; model damaged'
    """
    said = [_signature(row, before), _recall(row)]
    if _damaged(row):
        said.append("model damaged")
    return "; ".join(s for s in said if s)


def _signature(row: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    p = row["attack_p"]
    if p is None:
        return "signature not tested (no permutations)"
    still = "" if row["method"] == "none" else "still "
    if p <= ALPHA:
        return f"signature {still}readable"
    if row["detectable_auc"] is None:
        return "signature: nothing could have been found"
    if row["method"] == "none":
        return f"signature not readable (finds AUC {row['detectable_auc']:.2f})"
    if before["attack_p"] is not None and before["attack_p"] > ALPHA:
        return "signature not readable before or after"
    return f"signature not readable by this suite (finds AUC {row['detectable_auc']:.2f})"


def _recall(row: Mapping[str, Any]) -> str:
    was, now = row["exact_before"], row["exact_after"]
    if was == 0:
        return "nothing was recited before"
    return "recall gone" if now <= GONE * was else "recall weaker" if now < WEAKER * was else "recall kept"


def _damaged(row: Mapping[str, Any]) -> bool:
    return row["loss_after"] > (1 + LOSS_UP) * row["loss_before"] or row["kl"] > KL_LIMIT
