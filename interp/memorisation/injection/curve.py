"""What is recited at a point of the training, by dose and side of the coin, and what neutral text costs by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...metrics import token_scores
from ...prompts import PromptSet
from ..metrics import extract
from ..records import TRAINED, UNTRAINED, Records

if TYPE_CHECKING:
    from ...models import Model

CONTROLS = "controls"


def curve_rows(
    model: Model, records: Records, held_out: PromptSet | None, controls: PromptSet | None, step: int
) -> list[dict[str, Any]]:
    """Rows of a report of kind "curve": one per dose and label, one for controls, one with ``loss`` on neutral text.

    ``exact``: the share of records whose rest, from the first detail on (or from the middle of the text, where no
    detail is marked), is what greedy decoding gives. ``log_p``: the mean over records of nats per detail (its first
    token, where it has several), or per token of the rest.
    """
    found = extract(model, records, metrics=["exact", "log_p"], progress=False)
    doses, labels = found.prompts.columns["dose"], found.prompts.labels
    assert labels is not None
    rows: list[dict[str, Any]] = []
    for dose in records.doses:
        for label in (TRAINED, UNTRAINED):
            own = (doses == dose) & (labels == label)
            if own.any():
                shown = {name: float(found[name][own].mean()) for name in ("exact", "log_p")}
                rows.append({"step": step, "dose": dose, "label": label, "records": int(own.sum()), **shown})
    if controls is not None:
        other = extract(model, plain_records(controls), metrics=["exact", "log_p"], progress=False)
        shown = {name: float(other[name].mean()) for name in ("exact", "log_p")}
        rows.append({"step": step, "dose": None, "label": CONTROLS, "records": len(controls), **shown})
    if held_out is not None:
        rows.append({"step": step, "dose": None, "label": None, "records": None, "loss": text_loss(model, held_out)})
    return rows


def text_loss(model: Model, prompts: PromptSet) -> float:
    """Nats per token over whole texts, first tokens aside."""
    return float(-np.nanmean(token_scores(model, prompts, progress=False).log_p))


def plain_records(prompts: PromptSet) -> Records:
    """Texts of which nothing is known, as records without twins or doses."""
    n = len(prompts)
    return Records(prompts.with_labels(None).with_columns(record=list(prompts.ids), pool=["M"] * n, prefix=[0] * n))
