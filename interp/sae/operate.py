"""Edits on latents: ``set_latents``, ``ablate_latents``, ``reconstruct``. What latents leave out stays as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..edits import At, Edit, EditRows, When, patch
from ..errors import SaeError
from ..sites import Site
from .latents import Sae

if TYPE_CHECKING:
    from ..prompts import PromptSet
    from ..store import Activations


def set_latents(
    sae: Sae,
    values: Mapping[int, float],
    *,
    source: Activations | None = None,
    at: At = "all",
    when: When = "both",
) -> Edit:
    """Give some latents a value at every selected token: ``x + sum_l (value_l - latent_l(x)) decoder_l``.

    All other latents and the error are left as they are, so that setting latents to what they are changes nothing.

    Args:
        values: latent -> value, in the latent's own units.
        source: for a transcoder, whose input is at another site: activations of the same prompts there
            (``capture(model, prompts, sae.reads)``). They are those of that run, whatever other edits do.

    Raises:
        SaeError: a latent that does not exist, a value that is no number, or a transcoder without ``source``.

    >>> import interp
    >>> from interp.sae import set_latents, train_sae
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]] * 20)
    >>> acts = interp.capture(model, prompts, "resid_post.0")
    >>> sae = train_sae(acts, "resid_post.0", n_latents=8, k=2, steps=2, batch=8, progress=False).sae
    >>> edited = interp.capture(model, prompts, "resid_post.0", edits=[set_latents(sae, {3: 1.5})])
    >>> change = (edited["resid_post.0"][0] - acts["resid_post.0"][0]) / sae.decoder[3]
    >>> bool(change.std() < 1e-3)
    True
    """
    which = _latents(sae, values)
    wanted = torch.tensor([float(values[i]) for i in which])
    if not all(math.isfinite(v) for v in wanted.tolist()):
        raise SaeError(f"set_latents on {sae}: values must be finite, got {dict(values)}")
    read = _reader(sae, source)

    def fn(x: Tensor, rows: EditRows) -> Tensor:
        now = sae.encode(read(x, rows))[:, which]
        change = (wanted.to(now) - now) @ sae.decoder[which]
        return x + change.to(x)

    name = f"set_latents({', '.join(f'{i}: {values[i]:g}' for i in which[:4])}{', ...' if len(which) > 4 else ''})"
    return Edit(sae.site, fn, at, when, name, sae.width)


def ablate_latents(
    sae: Sae,
    which: Iterable[int],
    kind: Literal["zero", "mean"],
    value: Float[Tensor, " latent"] | None = None,
    *,
    source: Activations | None = None,
    at: At = "all",
    when: When = "both",
) -> Edit:
    """Take latents out: to zero, or to their mean (``value``, one number per latent of the SAE); the error stays.

    Raises:
        SaeError: as for `set_latents`; an unknown kind; a mean that is missing, or given where there is none.
    """
    if kind not in ("zero", "mean"):
        raise SaeError(f"ablate_latents(..., {kind!r}): one of 'zero', 'mean'")
    if (kind == "mean") != (value is not None):
        raise SaeError(f"ablate_latents(..., {kind!r}) {'needs' if kind == 'mean' else 'takes no'} value")
    if value is not None and value.shape != (sae.n_latents,):
        raise SaeError(f"{sae} has {sae.n_latents} latents; the means have the shape {list(value.shape)}")
    chosen = list(which)
    to = {i: 0.0 if value is None else float(value[i]) for i in _latents(sae, chosen)}
    made = set_latents(sae, to, source=source, at=at, when=when)
    return Edit(made.site, made.fn, at, when, f"ablate_latents({kind}, {len(to)} of {sae.n_latents})", made.width)


def reconstruct(
    sae: Any, *, site: Any = None, spare: PromptSet | None = None, at: At = "all", when: When = "both"
) -> Edit:
    """Put the reconstruction in place of what stands at the site: everything but the error.

    Args:
        sae: an `Sae`, or another value with ``reconstruct(rows)`` and ``width``, whose ``site`` is then given.
        spare: the prompts to be run, whose special tokens are left as they are; without it none is.

    Raises:
        SaeError: a transcoder, which reads at another site.
    """
    if getattr(sae, "is_transcoder", False):
        raise SaeError(f"{sae} reads at {sae.reads}; reconstruct replaces rows by what they themselves encode")
    spared = None if spare is None else _special(spare)

    def fn(x: Tensor, rows: EditRows) -> Tensor:
        new = sae.reconstruct(x).to(x)
        if spared is None:
            return new
        keep = spared[rows.example.cpu(), rows.pos.cpu()].to(x.device)
        return torch.where(keep[:, None], x, new)

    return Edit(sae.site if site is None else Site.parse(site), fn, at, when, "reconstruct", sae.width)


def _special(prompts: PromptSet) -> Tensor:
    found = torch.zeros(len(prompts), int(prompts.lengths.max()), dtype=torch.bool)
    for i, special in enumerate(prompts.special):
        found[i, : len(special)] = torch.from_numpy(special.copy())
    return found


def _latents(sae: Sae, which: Iterable[int]) -> list[int]:
    found = list(which)
    wrong = [i for i in found if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < sae.n_latents]
    if wrong or not found:
        what = f"latent {wrong[0]!r}" if wrong else "no latent at all"
        raise SaeError(f"{sae} has latents 0 to {sae.n_latents - 1}, got {what}")
    if len(set(found)) < len(found):
        raise SaeError(f"latents are named twice: {found}")
    return found


def _reader(sae: Sae, source: Activations | None) -> Any:
    """Rows at the edited site -> what the encoder reads there."""
    if not sae.is_transcoder:
        if source is not None:
            raise SaeError(f"{sae} reads where it writes; only a transcoder takes source=")
        return lambda x, _: x
    if source is None:
        raise SaeError(
            f"{sae} reads at {sae.reads}, which an edit at {sae.site} does not see; give "
            f"source=capture(model, prompts, '{sae.reads}')"
        )
    return patch(sae.reads, source).fn
