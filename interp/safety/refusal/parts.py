"""The parts of a refusal study, each from what was measured before it to its reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...directions import Direction
from ...errors import ActivationError
from ...provenance import Provenance
from ...report import Report
from .behaviour import Behaviour
from .beliefs import Reading
from .beliefwords import belief_report
from .cells import CELLS, Quadrants, cell_of, concept_axis
from .contrasts import HARM, REFUSAL
from .dissociation import dissociate
from .dissociationwords import dissociation_report, dose_report
from .guard import guard_report, latent_guard
from .jailbreaks import map_beliefs, map_report
from .outcomes import Outcome, answer_outcome, refusal_outcomes
from .regression import quadrant_report, regression_report
from .requests import T_INST, T_POST, TEST, TRAIN, VALIDATION, Requests
from .settings import Settings
from .surface import bag_features, surface_scores

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
MOST_STEERED = 96
"""Plain requests of a part that are steered, at most."""


def quadrants_of(requests: Requests, behaviour: Behaviour) -> Quadrants:
    """The cell of each request by its content and by what the model does; -1 for what belongs to none.

    Left out are requests that failed at what they are for: jailbroken ones that are refused, and over-refused ones
    that are answered. A model whose refusals do not go by harm has no refused cells.
    """
    refused = behaviour.refused & behaviour.found
    cell = cell_of(requests.harmful, refused)
    cell[(requests.role == "jailbroken") & refused] = -1
    cell[(requests.role == "overrefused") & ~refused] = -1
    if not behaviour.found:
        cell[~requests.plain] = -1
    return Quadrants(cell, requests.part == TRAIN)


def directions_of(reading: Reading, provenance: Provenance) -> dict[str, tuple[Direction, ...]]:
    """The harm direction at t_inst and the refusal direction at t_post, after every block, the other held fixed."""
    quadrants, out = reading.quadrants, {}
    filled = quadrants.filled
    harm = concept_axis(HARM, filled)
    axes = {HARM: (harm, T_INST), REFUSAL: (concept_axis(REFUSAL, filled), T_POST)}
    for name, (axis, mark) in axes.items():
        if axis is None:
            continue
        positive, negative = reading.means.sides(axis)
        m = reading.means.marks.index(mark)
        made = []
        for k, site in enumerate(reading.sites):
            if k:
                made.append(Direction.of(positive[m, k] - negative[m, k], site, mark, "diff_means", provenance))
        out[name] = tuple(made)
    return out


def belief_reports(
    reading: Reading, requests: Requests, behaviour: Behaviour, provenance: Provenance, name: str, settings: Settings
) -> dict[str, Report]:
    """Beliefs by depth; if the model refuses, quadrants, what a belief owes to harm and to refusal, and the map."""
    made = {"beliefs": belief_report(reading, f"What {name!r} tells apart", provenance, settings.level)}
    if not behaviour.found:
        return made
    made["quadrants"] = quadrant_report(reading, requests, f"Quadrants in {name!r}", provenance, settings)
    owed = regression_report(
        reading, requests, f"What beliefs in {name!r} owe to harm and to refusal", provenance, settings
    )
    if owed is not None:
        made["regression"] = owed
    made["belief-map"] = map_report(reading, requests, behaviour, f"Requests in {name!r}", provenance, settings)
    return made


def steering_reports(
    model: Model, requests: Requests, directions: Mapping[str, Sequence[Direction]], tokens: Sequence[int],
    question: str, yes: Sequence[str], no: Sequence[str], doses: Sequence[float], draws: int, provenance: Provenance,
    settings: Settings,
) -> dict[str, Report]:  # fmt: skip
    """Steer the answer to the question and, if the model refuses, refusal; on plain requests."""
    pairs: list[tuple[Outcome, Outcome]] = []
    chosen = [_sample(requests, part, settings.seed) for part in (VALIDATION, TEST)]
    if min(len(rows) for rows in chosen) < 4:
        raise ActivationError(
            f"steering chooses on validation and judges on test requests; there are {len(chosen[0])} and "
            f"{len(chosen[1])}, give more"
        )
    trial, test = (requests.select(rows) for rows in chosen)
    pairs.append(tuple(answer_outcome(r, model.tokenizer, question, yes, no) for r in (trial, test)))  # type: ignore[arg-type]
    if REFUSAL in directions:
        pairs += list(zip(*(refusal_outcomes(r, tokens) for r in (trial, test)), strict=True))
    found = dissociate(model, pairs, directions, doses=doses, draws=draws, settings=settings)
    return {
        "inversion": dose_report(found, f"Steering {model.id!r}, dose by dose", provenance, settings),
        "dissociation": dissociation_report(found, f"What each direction moves in {model.id!r}", provenance, settings),
    }


def guard_reports(
    reading: Reading, requests: Requests, behaviour: Behaviour, fpr: float, provenance: Provenance, name: str,
    settings: Settings,
) -> dict[str, Report]:  # fmt: skip
    """The harm belief at t_inst as a guard, beside a bag of tokens and the refusal score itself."""
    axis = reading.plain
    sides = [_rows(reading.quadrants, cells) for cells in (axis.positive, axis.negative)]
    rows = np.flatnonzero(requests.held_out)
    bag = np.full(len(requests), np.nan)
    bag[rows] = surface_scores(bag_features(requests.prompts, T_INST), sides[0], sides[1], rows)
    belief, _ = map_beliefs(reading, len(requests))
    others = {"bow": bag, "refusal": behaviour.score}
    guard = latent_guard(belief, behaviour.refused, requests, fpr=fpr, controls=others, settings=settings)
    return {"guard": guard_report(guard, requests, f"Latent Guard in {name!r}", provenance, settings)}


def _rows(quadrants: Quadrants, cells: Sequence[str]) -> Array:
    return np.flatnonzero(quadrants.train & np.isin(quadrants.cell, [CELLS.index(c) for c in cells]))


def _sample(requests: Requests, part: str, seed: int) -> Array:
    """Plain requests of a part, as many harmful as harmless ones, and no more than `MOST_STEERED`."""
    rng = np.random.default_rng(seed)
    here = requests.plain & (requests.part == part)
    sides = [rng.permutation(np.flatnonzero(here & (requests.harmful == side))) for side in (True, False)]
    count = min(len(sides[0]), len(sides[1]), MOST_STEERED // 2)
    return np.sort(np.concatenate([side[:count] for side in sides]))
