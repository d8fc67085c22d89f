"""What each head, MLP and the embedding adds to a linear reading of the residual stream: exact, and signed.

The one decomposition of the package: a prober's reading (`interp.safety.cliff`) and a difference of logits
(`interp.circuits.direct`) are both read this way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ModelError, SiteError
from ..prompts import PromptSet
from ..run import capture
from ..run.held import HeldNorm, hold
from ..sites import Site
from ..store import Activations

if TYPE_CHECKING:
    from ..models import Model

Norm = Literal["none", "final"]
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
HALF_PRECISION = 0.05
"""How far the sum of the parts may lie from the direct reading, as a share of the sum of their sizes: rounding."""


@dataclass(frozen=True, eq=False)
class Contributions:
    """A reading of each row as a sum over ``parts``: ``values.sum(1)`` is ``direct``.

    Parts are written as sites: ``z.3.h1`` is a head, ``mlp_out.2`` an MLP, ``resid_pre.0`` the embedding; ``bias`` is
    everything that no input reaches: the biases of attention outputs and norms, and the reading's own. ``error`` is
    the largest difference between the sum and the direct reading, as a share of the sum of the parts' sizes.
    """

    parts: tuple[str, ...]
    values: Float[np.ndarray, "row part"]
    direct: Float[np.ndarray, " row"]
    error: float

    def heads(self) -> tuple[tuple[Site, ...], Float[np.ndarray, "row head"]]:
        """The heads alone, with their columns."""
        which = [i for i, part in enumerate(self.parts) if part.startswith("z.")]
        return tuple(Site.parse(self.parts[i]) for i in which), self.values[:, which]


def final_norm(model: Model) -> torch.nn.Module:
    """The norm between the last block and the unembedding.

    Raises:
        ModelError: the model has none.
    """
    part = model.parts.get("ln_final")
    if part is None or part.name is None:
        raise ModelError(f"{model.architecture} has no norm after its last block; read the stream with norm='none'")
    return model.module(part.name)


def normed(model: Model, rows: Float[Tensor, "row d"], norm: Norm) -> Float[Tensor, "row d"]:
    """Rows as a reading takes them: as they are, or through the model's final norm."""
    if norm == "none" or not len(rows):
        return rows
    with torch.no_grad():
        return final_norm(model)(rows.to(model.device)).to(rows.device)


def contributions(
    model: Model,
    prompts: PromptSet,
    weights: Float[Tensor, " d"] | Float[Tensor, "row d"],
    bias: float | Float[Tensor, " row"],
    site: Site | str,
    *,
    norm: Norm = "none",
    at: str = "last",
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Contributions:
    """Share the reading ``weights @ h + bias`` at a site and mark out over everything that wrote to the stream.

    A head's contribution is ``z_h W_O^h`` read by ``weights``, through the norms between, each with its scale held at
    what it is on that row. Parts of the model before the site are included, those after it have no part in it.

    Args:
        weights: the direction that reads, in the units of the activations; or one for each prompt.
        site: ``resid_pre``, ``resid_mid`` or ``resid_post`` of some block.
        norm: ``"final"``: what is read is ``norm(h)``, with the model's final norm.
        at: the mark of the token that is read.

    Raises:
        SiteError: another kind of site.
        ModelError: something unknown lies between a part and the stream, so that the sum is not the direct reading.

    Source: arXiv 2510.06036, section 4, made exact: direct attribution of a linear prober with the norm held, as in
    Elhage et al., A Mathematical Framework for Transformer Circuits.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]])
        >>> found = contributions(model, prompts, torch.ones(model.d_model), 0.5, "resid_post.1")
        >>> len(found.heads()[0]), bool(abs(found.values.sum() - found.direct.sum()) < 1e-4)
        (8, True)
    """
    written = capture_written(model, prompts, site, at=at, batch_tokens=batch_tokens, progress=progress)
    return written.read(model, weights, bias, norm)


@dataclass(frozen=True, eq=False)
class Written:
    """What every part wrote to the stream before ``site``, captured once and read as often as one likes."""

    site: Site
    acts: Activations

    def read(
        self,
        model: Model,
        weights: Float[Tensor, " d"] | Float[Tensor, "row d"],
        bias: float | Float[Tensor, " row"] = 0.0,
        norm: Norm = "none",
    ) -> Contributions:
        """The reading ``weights @ h + bias`` as a sum over parts; see `contributions`."""
        h = self.acts[self.site].tensor()
        u = weights.double().to(h.device).expand(len(h), -1)
        constant = torch.as_tensor(bias, dtype=torch.float64, device=h.device).expand(len(h))
        direct = (normed(model, h, norm).double() * u).sum(-1) + constant
        if norm == "final":
            held = _held(final_norm(model), h, model)
            constant, u = constant + u @ held.shift, held.pull(u)
        parts = {"resid_pre.0": (self.acts[Site("resid_pre", 0)].tensor().double() * u).sum(-1)}
        for layer in sorted(s.layer for s in self.acts if s.kind == "z" and s.layer is not None):
            heads, fixed = _heads(model, self.acts, layer, u)
            parts |= {f"z.{layer}.h{k}": heads[:, k] for k in range(heads.shape[1])}
            constant = constant + fixed
        for mlp in sorted(s for s in self.acts if s.kind == "mlp_out"):
            parts[str(mlp)] = (self.acts[mlp].tensor().double() * u).sum(-1)
        parts["bias"] = constant
        return _checked(model, parts, direct)


def capture_written(
    model: Model,
    prompts: PromptSet,
    site: Site | str,
    *,
    at: str = "last",
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Written:
    """Capture what `contributions` needs, to be read along several directions.

    Raises:
        SiteError: another kind of site than ``resid_pre``, ``resid_mid`` or ``resid_post``.
    """
    wanted = Site.parse(site)
    if wanted.kind not in ("resid_pre", "resid_mid", "resid_post"):
        raise SiteError(f"contributions are to the residual stream (resid_pre, resid_mid, resid_post), not {wanted}")
    assert wanted.layer is not None
    attended = range(wanted.layer + (wanted.kind != "resid_pre"))
    mlps = range(wanted.layer + (wanted.kind == "resid_post"))
    sites = {Site("resid_pre", 0), wanted}
    sites |= {Site(kind, layer) for layer in attended for kind in ("z", "attn_out")}
    sites |= {Site("mlp_out", layer) for layer in mlps if _has(model, Site("mlp_out", layer))}
    acts = capture(model, prompts, sorted(sites), at=at, batch_tokens=batch_tokens, progress=progress)
    return Written(wanted, acts)


def _has(model: Model, site: Site) -> bool:
    try:
        model.resolve(site)
    except SiteError:  # a model of attention alone
        return False
    return True


def _held(norm: torch.nn.Module, x: Tensor, model: Model) -> HeldNorm:
    return hold(norm, x.to(model.device)).to(x.device)


def _heads(
    model: Model, acts: Activations, layer: int, u: Float[Tensor, "row d"]
) -> tuple[Float[Tensor, "row head"], Float[Tensor, " row"]]:
    """What each head of a layer adds to the reading ``u``, and what its output's biases do."""
    z, out = acts[Site("z", layer)].tensor(), acts[Site("attn_out", layer)].tensor()
    matrix = model.resolve(Site("z", layer)).module
    with torch.inference_mode(False), torch.enable_grad():
        live = z.to(model.device).clone().requires_grad_()
        before = matrix(live)
        pulled, fixed = u, u.new_zeros(len(u))
        if not _near(before.detach().to(out.device), out, model):
            held = _between(model, layer, before.detach().to(out.device), out)
            fixed, pulled = held.shift.to(u) @ u.T, held.pull(u)
        size = pulled.abs().max().clamp_min(torch.finfo(torch.float64).tiny)  # so that half precision neither over-
        [back] = torch.autograd.grad(before, live, (pulled / size).to(before))  # nor underflows
    with torch.no_grad():
        zero = matrix(torch.zeros_like(live[:1]))[0].to(u)
    s = model.sizes
    each = (back.to(u) * z.to(u)).reshape(len(z), s.n_heads, s.d_head).sum(-1) * size
    return each, fixed + pulled @ zero


def _near(got: Tensor, want: Tensor, model: Model) -> bool:
    tolerance = 1e-4 if model.dtype in TOLERANCE else HALF_PRECISION
    return bool((got.double() - want.double()).abs().max() <= tolerance * want.abs().max().clamp_min(1e-12))


def _between(model: Model, layer: int, before: Tensor, out: Tensor) -> HeldNorm:
    """The norm between a layer's output matrix and the stream."""
    tap: Any = model.resolve(Site("attn_out", layer))
    norm = tap.module
    if norm is model.resolve(Site("z", layer)).module or tap.side != "out":
        raise ModelError(f"attn_out.{layer} of {model.architecture} is not its output matrix times z, as it should be")
    with torch.no_grad():
        again = norm(before.to(model.device)).to(out.device) if _takes_rows(norm) else None
    if again is None or not _near(again, out, model):
        raise ModelError(
            f"something other than a norm lies between the heads of layer {layer} of {model.architecture} and the "
            "residual stream, so their contributions are not defined"
        )
    return _held(norm, before, model)


def _takes_rows(module: torch.nn.Module) -> bool:
    """Whether this is a norm, rather than the whole attention, which takes much more than rows."""
    return not any(True for _ in module.children())


def _checked(model: Model, parts: dict[str, Tensor], direct: Tensor) -> Contributions:
    values = torch.stack(list(parts.values()), dim=1).cpu()
    sizes = values.abs().sum(1)
    # A row that nothing contributes to has rounding errors alone, which are no fault of the parts.
    sizes = sizes.clamp_min(max(1e-12, float(sizes.mean())))
    error = float(((values.sum(1) - direct.cpu()).abs() / sizes).max())
    if not error <= TOLERANCE.get(model.dtype, HALF_PRECISION):
        raise ModelError(
            f"heads, MLPs and embedding of {model.architecture} do not add up to what is read: off by {error:.2g} of "
            "the sum of their sizes; something else writes to the residual stream, or scales what they write"
        )
    return Contributions(tuple(parts), values.numpy(), direct.cpu().numpy(), error)
