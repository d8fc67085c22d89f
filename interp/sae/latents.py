"""``Sae``: a sparse autoencoder or transcoder at a site, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import SaeError
from ..provenance import Provenance
from ..sites import Site

if TYPE_CHECKING:
    from ..models import Model


@dataclass(frozen=True, eq=False, repr=False)
class Sae:
    """Latents that write at ``site``, encoded from what stands at ``reads`` (the same site, but for a transcoder).

    What stands at the site is, for every token, ``latents @ decoder + bias + error``; a skip transcoder adds
    ``skip(x)``. The error is part of the value's business: nothing here ever leaves it out unsaid.

    Attributes:
        net: the sae-lens object, its parameters frozen. It computes in its own dtype, whatever the model's.
        fingerprint: hash of its weights.
        made: how it was trained, with the model's fingerprint; ``None`` where its files do not say.
    """

    site: Site
    reads: Site
    net: Any
    fingerprint: str
    made: Provenance | None = None

    @property
    def n_latents(self) -> int:
        """How many latents there are."""
        return int(self.net.cfg.d_sae)

    @property
    def d_in(self) -> int:
        """Width of what it reads."""
        return int(self.net.cfg.d_in)

    @property
    def width(self) -> int:
        """Width of what it writes."""
        return int(self.decoder.shape[1])

    @property
    def architecture(self) -> str:
        """``topk``, ``standard``, ``jumprelu``, ``transcoder`` ... as sae-lens calls it."""
        return str(self.net.cfg.architecture())

    @property
    def is_transcoder(self) -> bool:
        """Whether it reads at another site than it writes at."""
        return self.reads != self.site

    @property
    def has_skip(self) -> bool:
        """Whether part of the output is linear in the input, past the latents."""
        return hasattr(self.net, "W_skip")

    @cached_property
    def decoder(self) -> Float[Tensor, "latent width"]:
        """What one unit of each latent writes."""
        rows = self.net.W_dec.detach()
        if getattr(self.net.cfg, "rescale_acts_by_decoder_norm", False):
            rows = rows / rows.norm(dim=-1, keepdim=True)
        return rows

    @property
    def bias(self) -> Float[Tensor, " width"]:
        """What it writes without any latent."""
        return self.net.b_dec.detach()

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows latent"]:
        """Latents of what stands at `reads`."""
        return self.net.encode(self._mine(x))

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "*rows latent"]) -> Float[Tensor, "*rows width"]:
        """What latents write, with the bias."""
        return latents.to(self.decoder) @ self.decoder + self.bias

    @torch.no_grad()
    def skip(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows width"]:
        """What goes past the latents; zero for all but skip transcoders."""
        x = self._mine(x)
        return x @ self.net.W_skip.T if self.has_skip else x.new_zeros(*x.shape[:-1], self.width)

    def reconstruct(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows width"]:
        """``decode(encode(x))``, with what a skip transcoder adds."""
        found = self.decode(self.encode(x))
        return found + self.skip(x) if self.has_skip else found

    def error(
        self, x: Float[Tensor, "*rows d_in"], y: Float[Tensor, "*rows width"] | None = None
    ) -> Float[Tensor, "*rows width"]:
        """What the reconstruction leaves out: ``y - reconstruct(x)``, where ``y`` stands at `site`.

        Raises:
            SaeError: a transcoder without ``y``.
        """
        if y is None:
            if self.is_transcoder:
                raise SaeError(f"a transcoder's error is at {self.site}: give what stands there as well")
            y = x
        return self._mine(y) - self.reconstruct(x)

    def check(self, model: Model) -> None:
        """Raise unless this belongs to the model: its sites, their widths, and the weights it was trained on.

        Raises:
            SaeError: a width that does not fit, or a site that the model lacks.
            ProvenanceError: it was trained on other weights.
        """
        for name, site, width in (("reads", self.reads, self.d_in), ("writes", self.site, self.width)):
            there = model.resolve(site).width
            if there != width:
                raise SaeError(
                    f"{self} {name} {width} numbers, but {site} of {model.id!r} is {there} wide; it was made for "
                    "another model or another site"
                )
        if self.made is not None:
            self.made.require_model(model.fingerprint, what=str(self))

    def _mine(self, x: Tensor) -> Tensor:
        return x.to(self.decoder)

    def __repr__(self) -> str:
        where = f"{self.site}" if not self.is_transcoder else f"{self.reads} -> {self.site}"
        return f"Sae({where}; {self.n_latents} latents, {self.architecture}; {self.fingerprint[:8]})"
