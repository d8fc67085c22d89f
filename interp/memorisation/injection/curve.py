"""What is recited at a point of the training, by dose and side of the coin, and what neutral text costs by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...prompts import PromptSet
from ..curves import training_curve
from ..metrics import extract
from ..recall import means
from ..records import Records

if TYPE_CHECKING:
    from ...models import Model

METRICS = ["exact", "log_p"]
CONTROLS = "controls"


def curve_rows(
    model: Model, records: Records, held_out: PromptSet | None, controls: PromptSet | None, step: int
) -> list[dict[str, Any]]:
    """The rows of `training_curve` for one step, and one more, with the label ``controls``, for texts never shown.

    ``exact``: the share of records whose rest, from the first detail on (or from the middle of the text, where no
    detail is marked), is what greedy decoding gives. ``log_p``: the mean over records of nats per detail (its first
    token, where it has several), or per token of the rest.
    """
    found = training_curve({step: model}, records, metrics=METRICS, neutral=held_out, progress=False)
    rows: list[dict[str, Any]] = [dict(row) for row in found.rows]
    if controls is not None:
        other = extract(model, plain_records(controls), metrics=METRICS, progress=False)
        shown = means({name: other[name].astype(float) for name in METRICS}, other.records.astype(str))
        few = {"records": len(controls), "groups": len(controls)}
        rows.append({"step": step, "dose": None, "label": CONTROLS, **few, **shown})
    return rows


def plain_records(prompts: PromptSet) -> Records:
    """Texts of which nothing is known, as records without twins or doses."""
    n = len(prompts)
    return Records(prompts.with_labels(None).with_columns(record=list(prompts.ids), pool=["M"] * n, prefix=[0] * n))
