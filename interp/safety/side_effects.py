"""``side_effects``: what edits cost on text that they are not meant for, beside random ones of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..edits import Edit
from ..errors import StatisticsError
from ..prompts import PromptSet
from ..report import Report
from .controls import Kind, rows_at, turned
from .neutral import Arm, measure_costs

if TYPE_CHECKING:
    from ..models import Model

NO_CONTROL = (
    "These edits act along no direction, so there is no random one of equal length to compare them with; give controls."
)


def side_effects(
    model: Model,
    edits: Sequence[Edit],
    neutral: PromptSet,
    *,
    controls: Sequence[Sequence[Edit]] | None = None,
    n_random: int = 5,
    random: Kind = "isotropic",
    stories: int = 16,
    new_tokens: int = 24,
    level: float = 0.95,
    bootstrap: int = 2000,
    batch_tokens: int | None = None,
    seed: int = 0,
    title: str | None = None,
    command: str | None = None,
) -> Report:
    """KL and change of loss on neutral texts, and the fluency of what is written under edits, beside random edits.

    One row for the unedited model, one for the edits, one per control. ``kl`` is KL(unedited || edited) in nats per
    token, ``ce_change`` the change of the loss per predicted token, ``nll`` the unedited model's surprise, per token,
    at greedy continuations written under the edits, ``distinct_2`` the share of different pairs of neighbouring tokens
    in them. Intervals draw texts again.

    Args:
        controls: what to compare with; by default the same edits along ``n_random`` random directions.
        stories: how many texts are continued; 0 for none.

    Raises:
        StatisticsError: no edits.
        PromptError: fewer than two neutral texts, or texts without the marks at which the edits act.

    >>> import interp
    >>> from interp.edits import add
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5, 9], [6, 8, 4, 6, 8]])
    >>> import torch
    >>> found = side_effects(model, [add("resid_post.0", torch.ones(model.d_model))], prompts, n_random=1, stories=0)
    >>> found.column("arm")
    ('unedited', 'edited', 'random 1')
    """
    if not edits:
        raise StatisticsError("there are no edits, and so no side effects")
    warnings: list[str] = []
    drawn = list(controls) if controls is not None else []
    if controls is None and n_random and all(edit.along is not None for edit in edits):
        rows = rows_at(model, neutral, edits[0].site) if random == "natural" else None
        drawn = list(turned(edits, n_random, kind=random, rows=rows, seed=seed))
    elif controls is None and n_random:
        warnings.append(NO_CONTROL)
    what = "random" if controls is None else "control"
    arms = [Arm("edited", tuple(edits)), *(Arm(f"{what} {i}", tuple(e)) for i, e in enumerate(drawn, 1))]
    costs, notes = measure_costs(
        model, arms, neutral, stories=stories, new_tokens=new_tokens, batch_tokens=batch_tokens
    )
    options: dict[str, Any] = {"level": level, "replicates": bootstrap, "seed": seed}
    table: list[dict[str, Any]] = [{"arm": "unedited", **costs.unedited(**options)}]
    table += [{"arm": arm.name, **costs.row(i, **options)} for i, arm in enumerate(arms)]
    spread = costs.spread(range(1, len(arms))) if drawn else {}
    source = neutral.source
    provenance = model.provenance(
        prompts=neutral.hash, seed=seed, command=command, bos=source.bos_summary, tokenizer=source.tokenizer,
        chat_template=source.chat_template,
    )  # fmt: skip
    meta = {
        "edits": [str(edit) for edit in edits], "random": random if controls is None else "given", "ci_level": level,
        "unit": "texts", "texts": len(neutral), "tokens": neutral.n_tokens, "stories": stories, **spread,
    }  # fmt: skip
    return Report(
        kind="side-effects", title=title or f"Side effects of edits of {model.id}", headline=headline(table[1], spread),
        rows=table, provenance=provenance, warnings=[*warnings, *notes], meta=meta,
    )  # fmt: skip


def headline(row: dict[str, Any], spread: dict[str, float]) -> str:
    """KL and change of loss in one sentence, beside the controls'."""
    text = (
        f"On neutral text the edits move predictions by {row['kl']:.3g} nats per token (KL) and the loss by "
        f"{row['ce_change']:+.3g} [{row['ce_change_lo']:+.3g}, {row['ce_change_hi']:+.3g}]"
    )
    if not spread:
        return f"{text}."
    return (
        f"{text}; controls move predictions by {spread['random_kl']:.3g} "
        f"({spread['random_kl_lo']:.3g} to {spread['random_kl_hi']:.3g})."
    )
