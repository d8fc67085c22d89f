"""Conditional steering: an edit that acts only on prompts whose own activation points a certain way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float

from ..errors import EditError
from ..sites import Site
from .edit import Edit, unit_of, vector_of


@dataclass(frozen=True, eq=False, repr=False)
class Condition:
    """Open if the cosine of a prompt's activation with ``unit`` reaches ``threshold``.

    The activation is the one at ``site`` and ``mark`` in the **unedited** prompt (``mark="all"``: its mean over the
    prompt's tokens), less ``offset``, such as a mean over many prompts. It is looked at once per prompt and run, before
    the first edited token, and what was decided holds for every token of that prompt, prompt and generated alike. It
    does not depend on the batch, the padding or the cache, and nothing is kept between runs.

    ``below`` turns it round: open where the cosine is less than the threshold. Make one with `Condition.on`.

    Raises:
        EditError: a threshold that is no number, or an offset of another width.
    """

    site: Site
    mark: str
    unit: Float[torch.Tensor, " width"]
    threshold: float
    below: bool = False
    offset: Float[torch.Tensor, " width"] | None = None

    def __post_init__(self) -> None:
        if math.isnan(self.threshold):
            raise EditError("the threshold of a condition is NaN")
        if self.offset is not None and self.offset.shape != self.unit.shape:
            raise EditError(f"a condition {len(self.unit)} wide has an offset of shape {tuple(self.offset.shape)}")

    @classmethod
    def on(
        cls,
        direction: Any,
        threshold: float,
        *,
        site: Site | str | None = None,
        mark: str | None = None,
        below: bool = False,
        offset: Any = None,
    ) -> Condition:
        """A condition on a `Direction`, read at its own site and mark, or on a vector at ``site`` and ``mark``.

        Raises:
            EditError: a plain vector without site and mark, or a vector without length.

        >>> made = Condition.on(torch.tensor([3.0, 4.0]), 0.5, site="resid_post.1", mark="last")
        >>> made.cosines(torch.tensor([[6.0, 8.0], [4.0, -3.0]])).tolist()
        [1.0, 0.0]
        >>> made.opens(torch.tensor([[6.0, 8.0], [4.0, -3.0]])).tolist()
        [True, False]
        """
        where, which = site or getattr(direction, "site", None), mark or getattr(direction, "mark", None)
        if where is None or which is None:
            raise EditError("a condition on a plain vector needs site= and mark=, such as 'resid_post.5' and 'last'")
        unit = unit_of(vector_of(direction).detach().double(), "Condition.on")
        away = None if offset is None else vector_of(offset).detach().double()
        return cls(Site.parse(where), which, unit, float(threshold), below, away)

    def cosines(self, rows: Float[torch.Tensor, "prompt width"]) -> Float[torch.Tensor, " prompt"]:
        """Cosine of each row with the direction, in float64; a row of zeros has none, and counts as 0."""
        x = rows.double() if self.offset is None else rows.double() - self.offset.to(rows.device)
        return (x @ self.unit.to(rows.device)) / x.norm(dim=-1).clamp(min=1e-300)

    def opens(self, rows: Float[torch.Tensor, "prompt width"]) -> Bool[torch.Tensor, " prompt"]:
        """Whether an edit under this condition acts on the prompts of these rows."""
        cosine = self.cosines(rows)
        return cosine < self.threshold if self.below else cosine >= self.threshold

    def __repr__(self) -> str:
        return f"cosine at {self.site}, {self.mark} {'<' if self.below else '>='} {self.threshold:.4g}"


def gate(edit: Edit, condition: Condition) -> Edit:
    """The same edit, on the prompts that meet a condition only.

    A condition that no prompt meets is no mistake: the run goes on, and its ``opened`` says for each prompt whether the
    edit acted. (An edit that never fires *although* a prompt met its condition raises, as any other does.)

    Source: conditional activation steering, Lee et al. (arXiv 2409.05907). Theirs is the cosine of ``h`` and
    ``tanh(proj_c h)``, which has no sign; here it is that of ``h`` and ``c``.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5], [6, 8, 3, 6]])
        >>> read = interp.capture(model, prompts, "resid_post.0", at="last")["resid_post.0"].tensor()
        >>> like_first = Condition.on(read[0] - read[1], 0.0, site="resid_post.0", mark="last", offset=read.mean(0))
        >>> edit = gate(interp.ablate("z.1.h0", "zero"), like_first)
        >>> list(interp.generate(model, prompts, 1, edits=[edit]).opened.values())[0].tolist()
        [True, False]
    """
    if edit.condition is not None:
        raise EditError(f"{edit} has a condition already; combine the two into one")
    return replace(edit, condition=condition)
