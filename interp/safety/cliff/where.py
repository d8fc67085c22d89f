"""Where to read: the first block from which on the last token before the answer shows what the model will do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ...errors import SiteError
from ...prompts import PromptSet
from ...sites import Site
from .kinds import CONTROL, REFUSED, SUSPECT, Kinds
from .prober import end_rows, fit_rows
from .settings import Settings

if TYPE_CHECKING:
    from ...models import Model

AUTO = "auto"
SHOWN = 0.9
"""Of the harmful prompts have to look at their last token like what becomes of them."""


@dataclass(frozen=True, eq=False)
class Where:
    """The chosen site; and behind each block, how often the end of the thinking shows what the model will do.

    ``shown`` is measured on the fitting half, by a prober of harmful refused and harmless answered prompts: the share
    of answered harmful prompts, of which it has seen none, that look answered, or that of refused ones that look
    refused, whichever is less. It is about the last token alone: whether anything fell has no part in the choice.
    """

    site: Site
    sites: tuple[Site, ...] = ()
    shown: Float[np.ndarray, " site"] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """A row per site, for a report."""
        return [] if self.shown is None else [
            {"site": str(s), "shown": float(v)} for s, v in zip(self.sites, self.shown, strict=True)
        ]  # fmt: skip


def where_to_read(model: Model, prompts: PromptSet, kinds: Kinds, use: Settings, **options: Any) -> Where:
    """The site that the settings name; with ``"auto"`` the first from which on all show what the model does.

    Before the heads that take a refusal away, the end of the thinking still looks like a refusal; long behind them,
    later blocks have turned it into words, and the heads' own contribution is lost among theirs.

    Raises:
        SiteError: more than one site is named.
    """
    if use.site != AUTO:
        named = model.expand(use.site)
        if len(named) != 1:
            raise SiteError(f"the prober reads one site, {use.site!r} names {len(named)}")
        return Where(named[0])
    sites = model.expand("resid_post")
    suspects = np.flatnonzero(kinds.fits & kinds.of(SUSPECT))
    if not len(suspects):
        return Where(sites[-1])
    fitting = np.flatnonzero(kinds.fits & (kinds.of(REFUSED) | kinds.of(CONTROL)))
    known, truth = end_rows(model, prompts.select(fitting), sites, kinds.refused[fitting], use.norm, **options)
    ends, _ = end_rows(
        model, prompts.select(suspects), sites, kinds.refused[suspects], use.norm, marks=("last",), **options
    )
    about = model.provenance(prompts=prompts.hash)
    probes = {s: fit_rows(known[s], truth, s, "end", use.norm, use.C, about).probe for s in sites}
    right = [
        ((probes[s](ends[s]) < 0).double().mean(), (probes[s](known[s][truth]) > 0).double().mean()) for s in sites
    ]
    shown = np.array([min(float(a), float(b)) for a, b in right])
    hidden = np.flatnonzero(shown < SHOWN)
    first = 0 if not len(hidden) else int(hidden[-1]) + 1
    return Where(sites[min(first, len(sites) - 1)], sites, shown)
