"""How a model's parts read and write the residual stream: which norm, which matrix, which module.

A branch (attention or MLP) reads the stream through a norm, or directly; a head writes through its rows of the output
matrix, and in some families (Gemma, OLMo-2) through a norm behind it. All of it is read off the architecture adapter
and then *tried* on the model itself: numbers that do not come out as the wiring says raise, so that no attribution is
ever made with a wrong picture of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ModelError
from ..sites import Site
from .hooks import Hooks, block_forms
from .resolve import Tap, _aliased, _part, resolve

if TYPE_CHECKING:
    from .model import Model

_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


@dataclass(frozen=True, eq=False)
class Branch:
    """How attention or the MLP of one layer reads the stream: at ``stream``, through ``norm`` if there is one.

    ``taps`` are where the branch's own input arrives: the projections' outputs (``q k v``) or the MLP's input.
    """

    stream: Site
    norm: nn.Module | None
    taps: dict[str, Tap]

    def normed(self, stream: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        """What the branch's matrices see of a stream."""
        return stream if self.norm is None else self.norm(stream)

    def pull(
        self, stream: Float[Tensor, "*rows d_model"], gradients: Float[Tensor, "n *rows d_model"]
    ) -> Float[Tensor, "n *rows d_model"]:
        """Gradients behind the norm as gradients of the stream before it: ``J^T g``, many at once."""
        if self.norm is None:
            return gradients
        with torch.enable_grad():
            x = stream.detach().requires_grad_()
            y = self.norm(x)
        return torch.autograd.grad(y, x, gradients, is_grads_batched=True)[0]


@dataclass(frozen=True, eq=False)
class Projection:
    """One of ``q k v``: the module, and which of its outputs are this part's, head after head."""

    module: Any
    columns: Any
    heads: int

    @property
    def weight(self) -> Float[Tensor, "head d_head d_model"]:
        """The rows of each head."""
        rows = self.module.weight
        rows = rows.T if type(self.module).__name__ == "Conv1D" else rows
        rows = rows if self.columns is None else rows[self.columns]
        return rows.reshape(self.heads, -1, rows.shape[-1])

    def __call__(self, normed: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows width"]:
        """All heads' outputs side by side, with the bias."""
        out = self.module(normed)
        return out if self.columns is None else out[..., self.columns]

    def head(self, normed: Float[Tensor, "head *rows d_model"]) -> Float[Tensor, "head *rows d_head"]:
        """Each head's output on a reading of its own."""
        bias = getattr(self.module, "bias", None)
        out = torch.einsum("h...m,hdm->h...d", normed, self.weight)
        if bias is None:
            return out
        bias = bias if self.columns is None else bias[self.columns]
        bias = bias.reshape(self.heads, *[1] * (out.ndim - 2), -1)
        return out + bias


@dataclass(frozen=True, eq=False)
class Output:
    """How heads write: the output matrix and, behind it, a norm in some families."""

    module: Any
    heads: int
    norm: nn.Module | None

    @property
    def weight(self) -> Float[Tensor, "head d_head d_model"]:
        """The rows of each head."""
        matrix = self.module.weight
        matrix = matrix if type(self.module).__name__ == "Conv1D" else matrix.T
        return matrix.reshape(self.heads, -1, matrix.shape[-1])

    def writes(self, z: Float[Tensor, "*rows width"]) -> Float[Tensor, "head *rows d_model"]:
        """What each head adds to the stream; their sum is what attention adds, up to a constant (the bias).

        Behind a norm each head is scaled as the norm scales the sum, and the bias is shared out.
        """
        split = z.reshape(*z.shape[:-1], self.heads, -1)
        parts = torch.einsum("...hd,hdm->h...m", split, self.weight)
        if self.norm is None:
            return parts
        bias = getattr(self.module, "bias", None)
        if bias is not None:
            parts = parts + bias / self.heads
        return _as_scaled(self.norm, parts)

    def constant(self, like: Tensor) -> Float[Tensor, " d_model"]:
        """What attention adds besides its heads, in the dtype and place of ``like``."""
        zero = like.new_zeros(self.weight.shape[-1])
        if self.norm is not None:
            return self.norm(zero)
        bias = getattr(self.module, "bias", None)
        return zero if bias is None else bias


@dataclass(frozen=True, eq=False)
class Block:
    """The wiring of one layer. ``parallel``: the MLP reads the same stream as attention."""

    module: nn.Module
    returns_tuple: bool
    attention: Branch
    projections: dict[str, Projection]
    output: Output
    mlp: Branch
    parallel: bool


@dataclass(frozen=True, eq=False)
class Wiring:
    """The wiring of a model, layer by layer, with the tap of the stream that the final norm reads."""

    blocks: tuple[Block, ...]
    final: Tap


def wiring(model: Model) -> Wiring:
    """How the model's parts are joined; found once and tried on a few tokens.

    Raises:
        ModelError: the model has no such parts, or computes something else than they say.

    >>> import interp
    >>> found = wiring(interp.load_model(interp.testbeds.path("induction")))
    >>> len(found.blocks), found.blocks[0].parallel, found.blocks[0].projections["q"].weight.shape
    (2, False, torch.Size([4, 32, 128]))
    """
    known = model.__dict__.get("_wiring")
    if known is None:
        modules = [_need(_part(model, layer), model, "its block", layer) for layer in range(model.n_layers)]
        forms = block_forms(modules, lambda: _run(model))
        blocks = tuple(_block(model, i, m, forms[i]) for i, m in enumerate(modules))
        known = Wiring(blocks, resolve(model, Site("resid_post", model.n_layers - 1)))
        _try(model, known)
        model.__dict__["_wiring"] = known
    return known


def _block(model: Model, layer: int, module: nn.Module, returns_tuple: bool) -> Block:
    s, aliases = model.sizes, model.parts["blocks"].hook_aliases
    post = str(aliases.get("hook_attn_out", "")).split(".")[0]
    behind = _part(model, layer, post) if post.startswith("ln") else None
    ahead = _part(model, layer, "ln1")
    pre = Site("resid_pre", layer)
    out = _need(_part(model, layer, "attn", "o"), model, "the output matrix of attention", layer)
    taps = {kind: resolve(model, Site(kind, layer)) for kind in "qkv"}
    heads = {"q": s.n_heads, "k": s.n_kv_heads, "v": s.n_kv_heads}
    parallel = aliases.get("hook_resid_mid") is None
    if parallel:
        stream, norm = pre, _part(model, layer, "ln2") or ahead
    else:
        where = _need(_aliased(model, layer, "hook_resid_mid"), model, "the stream before its MLP", layer)[0]
        names = str(aliases["hook_resid_mid"]).split(".")[0]
        stream, norm = Site("resid_mid", layer), where if names.startswith("ln") else None
    entry = _part(model, layer, "mlp") or _part(model, layer, "mlp", "in")
    entry = _need(entry, model, "its MLP", layer)
    return Block(
        module,
        returns_tuple,
        Branch(pre, None if ahead is behind else ahead, taps),
        {k: Projection(t.module, t.columns, heads[k]) for k, t in taps.items()},
        Output(out, s.n_heads, behind),
        Branch(stream, norm, {"mlp": Tap(Site("mlp_out", layer), entry, "in", None, s.d_model)}),
        parallel,
    )


def _need(found: Any, model: Model, what: str, layer: int) -> Any:
    if found is None:
        raise ModelError(f"{model.architecture}: {what} was not found in layer {layer}, so it has no circuit graph")
    return found


def _as_scaled(norm: nn.Module, parts: Float[Tensor, "head *rows d_model"]) -> Float[Tensor, "head *rows d_model"]:
    """Each part scaled (and centred) as ``norm`` scales their sum: a norm whose statistics are those of the sum.

    Nothing is assumed about the norm but that it is ``gain * centre(x) / scale(x) + shift``.
    """
    total = parts.sum(0)
    width = total.shape[-1]
    even = width - width % 2
    probe = torch.ones(width, dtype=total.dtype, device=total.device)
    probe[1:even:2] = -1.0
    probe[even:] = 0.0  # an odd width's last entry: its gain is read from a second probe
    shift = norm(torch.zeros_like(probe))
    gain = torch.where(probe != 0, (norm(probe) - shift) * probe, (norm(probe.flip(-1)) - shift) * probe.flip(-1))
    with torch.no_grad():
        moved = norm(2 + torch.cat([probe[:even], probe.new_full((width - even,), 0.0)])) - norm(probe)
        centred = bool(moved.abs().max() <= 1e-3 * gain.abs().max())
    middle = parts - parts.mean(-1, keepdim=True) if centred else parts
    flat = gain * (middle.sum(0))
    scale = ((norm(total) - shift) * flat).sum(-1, keepdim=True) / flat.square().sum(-1, keepdim=True).clamp_min(1e-30)
    return middle * gain * scale


# ---- the trial ------------------------------------------------------------------------------------------------------


def _inputs(model: Model) -> Tensor:
    n = min(7, model.n_ctx or 7)
    return ((torch.arange(n) * 7 + 3) % min(model.sizes.d_vocab, 5000))[None].to(model.device)


def _run(model: Model) -> Any:
    with torch.no_grad():
        return model.hf(input_ids=_inputs(model), use_cache=False)


def _try(model: Model, found: Wiring) -> None:
    """Raise unless every reading and every write comes out as the model itself computes it."""
    seen: dict[tuple[str, int], Tensor] = {}

    def keep(key: tuple[str, int], x: Tensor) -> None:
        seen[key] = x.clone()

    reads: list[tuple[Tap, Callable[[Tensor], None]]] = []
    for layer, block in enumerate(found.blocks):
        taps = {**block.attention.taps, **block.mlp.taps}
        sites = {"resid_pre", "z", "attn_out", block.mlp.stream.kind}
        taps |= {kind: resolve(model, Site(kind, layer)) for kind in sites}
        reads += [(tap, partial(keep, (name, layer))) for name, tap in taps.items()]
    with torch.no_grad(), Hooks(model, reads) as hooks:
        hooks.run(lambda: _run(model), batch=1)
    with torch.no_grad():
        for layer, block in enumerate(found.blocks):
            for what, got, want in _readings(block, lambda name, at=layer: seen[name, at]):
                _same(model, layer, what, got, want)


def _readings(block: Block, of: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    normed = block.attention.normed(of("resid_pre"))
    for kind, projection in block.projections.items():
        yield kind, projection(normed), of(kind)
    heads = block.output.writes(of("z"))
    yield "the sum of its heads", heads.sum(0) + block.output.constant(heads[0]), of("attn_out")
    yield "the MLP's input", block.mlp.normed(of(block.mlp.stream.kind)), of("mlp")


def _same(model: Model, layer: int, what: str, got: Tensor, want: Tensor) -> None:
    error = (got - want).abs().max() / want.abs().max().clamp_min(1e-6)
    if not bool(error < _TOLERANCE.get(model.dtype, 6e-2)):
        raise ModelError(
            f"{model.architecture}, layer {layer}: {what} is not what the residual stream, its norm and its matrix "
            f"give (relative difference {float(error):.2g}), so it has no circuit graph"
        )
