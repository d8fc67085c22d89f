"""Site -> the module and the side of it that carries the tensor, read off TransformerLens' architecture adapter.

An adapter names a model's parts (``blocks``, ``attn``, ``ln2`` ...) and says, per architecture, which of them carries
which hook: Gemma's ``attn_out`` is the output of a norm, OLMo-2's ``resid_mid`` the input of the MLP, a parallel block
has no ``resid_mid`` at all. That knowledge is TransformerLens'; this module only turns it into PyTorch modules of the
plain Hugging Face model, so that a run pays for no wrapper.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ..errors import ModelError, SiteError
from ..sites import SITES, Site

if TYPE_CHECKING:
    from .model import Model

Side = Literal["in", "out", "pattern", "logits"]
Columns = slice | torch.Tensor | None

# hook name in the adapter's alias table -> our site kind, for tensors that belong to the block
_BLOCK_HOOKS = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
}
_MLP_PRE = {"GatedMLPBridge": "gate", "MLPBridge": "in", "BloomMLPBridge": "in"}
_MLP_POST = {*_MLP_PRE, "JointGateUpMLPBridge"}


@dataclass(frozen=True, eq=False)
class Tap:
    """Where a site's tensor can be read or written: a module, a side of it, and the columns that are the site's.

    ``side`` is ``in`` (the module's first input), ``out`` (its first output), ``pattern`` (attention probabilities,
    through the attention interface) or ``logits`` (the ``logits`` field of the whole model's output). ``columns`` is
    ``None`` where the site is the whole tensor; for a fused QKV projection it is not. ``width`` is 0 for `pattern`,
    whose width is heads times keys of the batch at hand. ``around`` is the module to whose output the tensor is also
    added by a path that does not lead through ``module``, as the residual stream in mid-block is to the block's.
    """

    site: Site
    module: nn.Module
    side: Side
    columns: Columns
    width: int
    around: nn.Module | None = None

    def select(self, x: torch.Tensor) -> torch.Tensor:
        """The site's own columns of the tensor at the tap."""
        return x if self.columns is None else x[..., self.columns]

    def merge(self, x: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """A new tensor at the tap, with the site's columns replaced; ``x`` is left as it is."""
        if self.columns is None:
            return new
        merged = x.clone()
        merged[..., self.columns] = new.to(merged.dtype)
        return merged


def resolve(model: Model, site: Site) -> Tap:
    """The `Tap` of one site.

    Raises:
        SiteError: the model lacks this kind, layer or head; the message lists what exists.
    """
    sizes = model.sizes
    if site.layer is not None and site.layer >= sizes.n_layers:
        raise SiteError(f"site {str(site)!r}: this model has layers 0 to {sizes.n_layers - 1}")
    side_module = _locate(model, site)
    if side_module is None:
        raise SiteError(
            f"site {str(site)!r} does not exist in this {model.architecture}; "
            f"kinds that exist here: {', '.join(kinds(model))}" + _why_missing(model, site)
        )
    module, side, columns, width = side_module
    if site.head is None:
        around = _part(model, site.layer) if site.kind == "resid_mid" else None
        return Tap(site, module, side, columns, width, around)
    heads = sizes.n_kv_heads if site.kind in ("k", "v") else sizes.n_heads
    if site.head >= heads:
        raise SiteError(f"site {str(site)!r}: {site.kind!r} has heads 0 to {heads - 1} in this model")
    return Tap(site, module, side, *_head_columns(site, columns, sizes.d_head, heads))


def kinds(model: Model) -> tuple[str, ...]:
    """Site kinds that exist in some layer of the model, in the order of a forward pass."""
    last = model.sizes.n_layers - 1
    found = []
    for kind, spec in SITES.items():
        layers = (0, last) if spec.layered else (None,)
        if any(_locate(model, Site(kind, layer)) is not None for layer in layers):
            found.append(kind)
    return tuple(found)


def _head_columns(site: Site, columns: Columns, d_head: int, heads: int) -> tuple[Columns, int]:
    if site.kind == "pattern":
        raise SiteError(
            f"site {str(site)!r}: read 'pattern.{site.layer}' whole and pick the head from its heads x keys columns"
        )
    start = site.head * d_head  # type: ignore[operator]
    if columns is None:
        return slice(start, start + d_head), d_head
    base = columns if isinstance(columns, torch.Tensor) else torch.arange(columns.start, columns.stop)
    return base[start : start + d_head], d_head


def _why_missing(model: Model, site: Site) -> str:
    if site.kind == "resid_mid":
        return " (attention and MLP run in parallel here, so there is no residual between them)"
    if site.kind in ("mlp_pre", "mlp_post") and _part(model, site.layer, "mlp") is not None:
        return " (the MLP here is a mixture of experts or a fused projection, without one hidden tensor per token)"
    if site.kind == "mlp_in" and _part(model, site.layer, "mlp") is not None:
        return " (the MLP reads the residual stream without a norm here: use resid_mid)"
    if site.kind == "pattern":
        return " (this architecture computes attention outside transformers' attention interface)"
    return ""


def _locate(model: Model, site: Site) -> tuple[nn.Module, Side, Columns, int] | None:
    """Module, side, columns and width of a whole site; ``None`` where the model has no such tensor."""
    sizes, kind = model.sizes, site.kind
    if kind == "embed":
        return model.module(model.parts["embed"].name), "out", None, sizes.d_model
    if kind == "logits":
        return model.hf, "logits", None, sizes.d_vocab
    if kind in _BLOCK_HOOKS:
        found = _aliased(model, site.layer, _BLOCK_HOOKS[kind])
        return None if found is None else (*found, None, sizes.d_model)
    if kind == "z":
        out = _part(model, site.layer, "attn", "o")
        return None if out is None else (out, "in", None, sizes.n_heads * sizes.d_head)
    if kind in ("q", "k", "v"):
        return _projection(model, site)
    if kind == "pattern":
        attention = _part(model, site.layer, "attn")
        return (
            (attention, "pattern", None, 0) if attention is not None and uses_attention_interface(attention) else None
        )
    if kind == "mlp_in":
        return _mlp_entry(model, site.layer)
    return _mlp_hidden(model, site)


def _mlp_entry(model: Model, layer: int | None) -> tuple[nn.Module, Side, Columns, int] | None:
    """Where the MLP's input arrives; ``None`` where that is the residual stream itself, which has a site already."""
    entry = _part(model, layer, "mlp") or _part(model, layer, "mlp", "in")
    if entry is None or _aliased(model, layer, _BLOCK_HOOKS["resid_mid"]) == (entry, "in"):
        return None
    return entry, "in", None, model.sizes.d_model


def _aliased(model: Model, layer: int | None, hook: str) -> tuple[nn.Module, Side] | None:
    """Follow the adapter's alias table, such as ``hook_resid_mid -> ln2.hook_in``, to a module and a side."""
    block = model.parts["blocks"]
    target = block.hook_aliases.get(hook)
    for alias in target if isinstance(target, list) else [target]:
        if alias is None:
            continue
        *path, point = alias.split(".")
        side: Side = "in" if point == "hook_in" else "out"
        module = _part(model, layer, *path)
        if module is None and path == ["mlp"] and "mlp" in block.submodules:
            # A containerless MLP (OPT): its projections hang on the block itself.
            module = _part(model, layer, "mlp", "in" if side == "in" else "out")
        if module is not None:
            return module, side
    return None


def _part(model: Model, layer: int | None, *path: str) -> nn.Module | None:
    """The module at an adapter path inside block ``layer``; ``None`` if this layer lacks it."""
    component: Any = model.parts["blocks"]
    names = [f"{component.name}.{layer}"]
    for key in path:
        component = component.submodules.get(key)
        if component is None:
            return None
        if component.name is not None:
            names.append(component.name)
    if path and component.name is None:
        return None
    try:
        return model.module(".".join(names))
    except AttributeError:
        return None


def _projection(model: Model, site: Site) -> tuple[nn.Module, Side, Columns, int] | None:
    sizes = model.sizes
    width = (sizes.n_heads if site.kind == "q" else sizes.n_kv_heads) * sizes.d_head
    attn = model.parts["blocks"].submodules.get("attn")
    if attn is None:
        return None
    if "qkv" in attn.submodules:
        fused = _part(model, site.layer, "attn", "qkv")
        return None if fused is None else (fused, "out", fused_columns(model, site.kind), width)
    module = _part(model, site.layer, "attn", site.kind)
    return None if module is None else (module, "out", None, width)


def _mlp_hidden(model: Model, site: Site) -> tuple[nn.Module, Side, Columns, int] | None:
    mlp = model.parts["blocks"].submodules.get("mlp")
    name = type(mlp).__name__
    if site.kind == "mlp_pre":
        module, side = (_part(model, site.layer, "mlp", _MLP_PRE[name]) if name in _MLP_PRE else None), "out"
    else:
        module, side = (_part(model, site.layer, "mlp", "out") if name in _MLP_POST else None), "in"
    if module is None:
        return None
    weight: Any = module.weight
    # The module's own width, since configs call it many things; transformers' Conv1D keeps [in, out].
    width = weight.shape[(side == "out") if type(module).__name__ == "Conv1D" else (side == "in")]
    return module, side, None, int(width)  # type: ignore[return-value]


def uses_attention_interface(attention: nn.Module) -> bool:
    """Whether this attention module goes through transformers' pluggable attention functions."""
    import sys

    home = sys.modules[type(attention).__module__]
    return hasattr(home, "eager_attention_forward") and hasattr(home, "ALL_ATTENTION_FUNCTIONS")


def fused_columns(model: Model, kind: str) -> Columns:
    """Which output columns of a fused QKV projection are q, k or v, head after head.

    Layouts differ (thirds in GPT-2, per-head triples in GPT-NeoX), and the adapter holds the code that splits the
    *weights*. So that code is run on a weight whose entries are their own output index, and the answer read off the
    pieces.
    """
    split = _fused_layout(model)[kind]
    start, stop = int(split[0]), int(split[-1]) + 1
    if torch.equal(split, torch.arange(start, stop)):
        return slice(start, stop)
    return split


def _fused_layout(model: Model) -> dict[str, torch.Tensor]:
    known = model.__dict__.get("_fused_layout")
    if known is None:
        known = model.__dict__["_fused_layout"] = _read_fused_layout(model)
    return known


def _read_fused_layout(model: Model) -> dict[str, torch.Tensor]:
    attn = model.parts["blocks"].submodules["attn"]
    fused = _part(model, 0, "attn", "qkv")
    if fused is None:
        raise ModelError(f"{model.architecture}: the fused QKV projection of layer 0 is missing")
    weight: Any = fused.weight
    conv1d = type(fused).__name__ == "Conv1D"  # transformers' Conv1D keeps [in, out]
    n_out = weight.shape[1 if conv1d else 0]
    index = torch.arange(n_out, dtype=torch.float32)
    labelled = torch.zeros(weight.shape, dtype=torch.float32)
    labelled[(0, slice(None)) if conv1d else (slice(None), 0)] = index
    fake = SimpleNamespace(weight=labelled, bias=None if getattr(fused, "bias", None) is None else index.clone())
    pieces = attn.split_qkv_matrix(SimpleNamespace(**{attn.submodules["qkv"].name: fake}))
    layout: dict[str, torch.Tensor] = {}
    for kind, piece in zip(("q", "k", "v"), pieces, strict=True):
        rows = piece.weight.detach()
        # Pieces are nn.Linear, [out, in]; the label sits in the one non-zero input column.
        layout[kind] = rows[:, 0].round().long()
    return layout
