"""``Site``: the strict address of one activation tensor, as a value.

A site is written ``kind``, ``kind.layer`` or ``kind.layer.hN`` and parses back from exactly that text:

>>> Site.parse("resid_post.10")
Site('resid_post.10')
>>> Site.parse("z.5.h3").head
3
>>> sorted([Site.parse("mlp_out.2"), Site.parse("resid_pre.2"), Site.parse("embed")])
[Site('embed'), Site('resid_pre.2'), Site('mlp_out.2')]

Names are TransformerLens' words. ``SITES`` says what each kind means and how wide it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Literal

from .errors import SiteError

Width = Literal["d_model", "q_width", "kv_width", "z_width", "d_mlp", "vocab", "heads_by_pos"]


@dataclass(frozen=True)
class SiteKind:
    """What one kind of site is: its axes, the model size that gives its width, and its meaning."""

    axes: tuple[str, ...]
    width: Width
    layered: bool
    headed: bool
    meaning: str


# In the order in which a forward pass reaches them; `Site` sorts by it.
SITES: dict[str, SiteKind] = {
    "embed": SiteKind(("pos", "d_model"), "d_model", False, False, "output of the token embedding"),
    "resid_pre": SiteKind(("pos", "d_model"), "d_model", True, False, "residual stream entering a block"),
    "q": SiteKind(("pos", "head d_head"), "q_width", True, True, "queries, before rotary and QK-norm"),
    "k": SiteKind(("pos", "head d_head"), "kv_width", True, True, "keys (one per KV head), before rotary and QK-norm"),
    "v": SiteKind(("pos", "head d_head"), "kv_width", True, True, "values (one per KV head)"),
    "pattern": SiteKind(("pos", "head key_pos"), "heads_by_pos", True, True, "attention probabilities"),
    "z": SiteKind(("pos", "head d_head"), "z_width", True, True, "attention-weighted values, before the output matrix"),
    "attn_out": SiteKind(("pos", "d_model"), "d_model", True, False, "what attention adds to the residual stream"),
    "resid_mid": SiteKind(("pos", "d_model"), "d_model", True, False, "residual stream between attention and MLP"),
    "mlp_in": SiteKind(("pos", "d_model"), "d_model", True, False, "what the MLP reads, behind its norm"),
    "mlp_pre": SiteKind(("pos", "d_mlp"), "d_mlp", True, False, "MLP hidden before the non-linearity (its gate)"),
    "mlp_post": SiteKind(("pos", "d_mlp"), "d_mlp", True, False, "MLP hidden that the output matrix reads"),
    "mlp_out": SiteKind(("pos", "d_model"), "d_model", True, False, "what the MLP adds to the residual stream"),
    "resid_post": SiteKind(("pos", "d_model"), "d_model", True, False, "residual stream leaving a block"),
    "logits": SiteKind(("pos", "vocab"), "vocab", False, False, "the model's output, after any soft cap"),
}

_ORDER = {kind: i for i, kind in enumerate(SITES)}
_TEXT = re.compile(r"(?P<kind>[a-z_]+)(?:\.(?P<layer>0|[1-9]\d*))?(?:\.h(?P<head>0|[1-9]\d*))?")


@total_ordering
@dataclass(frozen=True, eq=True, repr=False)
class Site:
    """Address of one activation: ``kind``, ``layer`` (``None`` for `embed` and `logits`), ``head`` (optional).

    Raises:
        SiteError: the kind is unknown, or layer or head do not belong to it.
    """

    kind: str
    layer: int | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        known = SITES.get(self.kind)
        if known is None:
            raise SiteError(f"unknown site kind {self.kind!r}; kinds are: {', '.join(SITES)}")
        if known.layered and self.layer is None:
            raise SiteError(f"site {self.kind!r} needs a layer, such as '{self.kind}.0'")
        if not known.layered and self.layer is not None:
            raise SiteError(f"site {self.kind!r} has no layer; write just {self.kind!r}")
        if self.head is not None and not known.headed:
            headed = ", ".join(k for k, s in SITES.items() if s.headed)
            raise SiteError(f"site {self.kind!r} has no heads; sites with heads are: {headed}")
        if (self.layer is not None and self.layer < 0) or (self.head is not None and self.head < 0):
            raise SiteError(f"site coordinates start at 0, got {self.kind}.{self.layer} head {self.head}")

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """Parse the strict text form; a `Site` passes through unchanged."""
        if isinstance(text, Site):
            return text
        match = _TEXT.fullmatch(text)
        if match is None:
            raise SiteError(f"cannot read site {text!r}; write KIND, KIND.LAYER or KIND.LAYER.hHEAD, as in 'z.5.h3'")
        layer, head = match["layer"], match["head"]
        return cls(match["kind"], None if layer is None else int(layer), None if head is None else int(head))

    @property
    def spec(self) -> SiteKind:
        """The row of `SITES` for this kind."""
        return SITES[self.kind]

    def __str__(self) -> str:
        text = self.kind if self.layer is None else f"{self.kind}.{self.layer}"
        return text if self.head is None else f"{text}.h{self.head}"

    def __repr__(self) -> str:
        return f"Site('{self}')"

    def __lt__(self, other: Site) -> bool:
        if not isinstance(other, Site):
            return NotImplemented
        return self._key() < other._key()

    def _key(self) -> tuple[int, int, int]:
        # embed sorts first and logits last, whatever the layer.
        depth = {"embed": -1, "logits": 1 << 30}.get(self.kind, self.layer or 0)
        return depth, _ORDER[self.kind], -1 if self.head is None else self.head
