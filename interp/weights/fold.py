"""An eraser as an edit of weights: into every matrix that writes to the residual stream, where that is exact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..directions.erasers import Eraser, erase
from ..edits import Edit
from ..errors import ActivationError, ModelError, SiteError
from ..prompts import PromptSet
from ..run import capture, forward
from ..sites import Site

if TYPE_CHECKING:
    from ..models import Model

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
HALF_PRECISION = 0.1
"""How far activations may lie from those of the hook edit, as a share of the largest: rounding, and no more."""


@dataclass(frozen=True, eq=False)
class Folded:
    """What was done to a model's weights, and what takes it back.

    ``weights`` are the originals of every weight that was touched, by name. ``untied`` says that the unembedding was
    given weights of its own.
    """

    model: Model
    eraser: Eraser
    weights: dict[str, Tensor]
    untied: bool
    changed: int

    def undo(self) -> None:
        """Put every weight back, byte for byte, and tie again what was tied."""
        parameters = dict(self.model.hf.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, weight in self.weights.items():
                parameters[name].copy_(weight)
        if self.untied:
            self.model.hf.get_output_embeddings().weight = self.model.hf.get_input_embeddings().weight
            self.model.hf.config.tie_word_embeddings = True


def stream_sites(model: Model) -> tuple[Site, ...]:
    """The residual stream wherever it can be edited: before the first block, between attention and MLP, after each."""
    return tuple(sorted({Site("resid_pre", 0), *_optional(model, "resid_mid"), *model.sites("resid_post")}))


def stream_edits(model: Model, eraser: Eraser) -> tuple[Edit, ...]:
    """The hook edits that `fold` does the work of: the eraser at every one of `stream_sites`, at all tokens."""
    return tuple(erase(site, eraser) for site in stream_sites(model))


def fold(model: Model, eraser: Eraser) -> Folded:
    """Change a model's weights, in place, so that it computes what `stream_edits` would make of it.

    For a map ``x -> P x + c`` every matrix and bias that writes to the stream becomes ``P W`` and ``P b``, every
    embedding ``P e``, and ``c`` is added to the token embeddings, once: ``P c = 0``, so the stream stays ``P x + c``
    from there on. This works for **one eraser at every depth**. An eraser at one depth only, or another at each, would
    have to change what passes by the blocks, where there is no weight.

    A tied unembedding is given weights of its own first (it reads the stream, and must not change).

    Raises:
        ActivationError: an eraser of another width.
        ModelError: a part that writes to the stream is not a plain matrix (a mixture of experts), or something lies
            between such a part and the stream (a norm after attention or MLP, a norm or scale after the embeddings),
            so that the result would be another model than the edits make.

    Whatever it raises, the weights are as they were.

    Source: weight orthogonalisation, Arditi et al. (arXiv 2406.11717), equation 5, for affine maps.

    >>> from interp import load_model, testbeds
    >>> model = load_model(testbeds.path("memory")).copy()
    >>> before = model.fingerprint
    >>> done = fold(model, Eraser.projection(torch.ones(1, 128), "by hand"))
    >>> done.untied, model.fingerprint == before
    (True, False)
    >>> done.undo()
    >>> model.fingerprint == before
    True
    """
    if eraser.width != model.d_model:
        raise ActivationError(f"the eraser takes {eraser.width} numbers, the residual stream has {model.d_model}")
    embedding, writers = _writers(model)
    changing = _parameters(model, embedding, writers)
    wanted = _look(model, stream_edits(model, eraser))
    names = {id(p): n for n, p in model.hf.named_parameters()}
    originals: dict[str, Tensor] = {}
    untied = _untie(model)
    done = Folded(model, eraser, originals, untied, 0)
    try:
        for module, parameter, transposed in changing:
            originals[names[id(parameter)]] = parameter.detach().clone()
            shift = eraser.shift if module is embedding[0] else None
            with torch.no_grad():
                parameter.copy_(_mapped(parameter, eraser, transposed, shift))
        _check(done, wanted, _look(model, ()))
    except BaseException:  # an interrupt as well: half a fold is another model
        done.undo()
        raise
    now = dict(model.hf.named_parameters())
    return replace(done, changed=sum(int((now[n].detach() != w).sum()) for n, w in originals.items()))


def _optional(model: Model, kind: str) -> tuple[Site, ...]:
    try:
        return model.sites(kind)
    except SiteError:  # attention and MLP in parallel: there is no stream between them
        return ()


def _writers(model: Model) -> tuple[list[nn.Module], list[nn.Module]]:
    """Embeddings, the tokens' first; and output matrices of attention and MLP."""
    position = model.parts.get("pos_embed")
    embeddings = [model.resolve("embed").module]
    if position is not None and position.name is not None:
        embeddings.append(model.module(position.name))
    try:
        sites = [Site(kind, layer) for layer in range(model.n_layers) for kind in ("z", "mlp_post")]
        return embeddings, [model.resolve(site).module for site in sites]
    except SiteError as error:
        raise ModelError(
            f"{model.architecture}: not every part that writes to the stream is a matrix: {error}"
        ) from error


def _parameters(
    model: Model, embeddings: list[nn.Module], writers: list[nn.Module]
) -> list[tuple[nn.Module, nn.Parameter, bool]]:
    """Every parameter to change, its module, and whether what it writes lies along its last axis.

    All are looked at before any is changed: what cannot be folded is refused while the weights are as they were.
    """
    found: list[tuple[nn.Module, nn.Parameter, bool]] = [(module, _weight(module), True) for module in embeddings]
    for module in writers:
        found.append((module, _weight(module), type(module).__name__ == "Conv1D"))  # which keeps [in, out]
        bias: Any = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            found.append((module, bias, True))
    names = {id(p): n for n, p in model.hf.named_parameters()}
    seen: set[int] = set()
    for _, parameter, _ in found:
        if id(parameter) in seen:
            raise ModelError(
                f"{names[id(parameter)]!r} writes to the stream in two places; folding would change it twice"
            )
        seen.add(id(parameter))
    return found


def _weight(module: nn.Module) -> nn.Parameter:
    weight: Any = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
        raise ModelError(f"{type(module).__name__} has no plain weight to fold an eraser into")
    return weight


def _mapped(weight: Tensor, eraser: Eraser, transposed: bool, shift: Tensor | None) -> Tensor:
    """``P W`` along the axis that writes, in float64, plus the shift where there is one."""
    exact = torch.float32 if weight.device.type == "mps" else torch.float64
    left, right = eraser.left.to(weight.device, exact), eraser.right.to(weight.device, exact)
    w = weight.detach().to(exact)
    out = w - (w @ right.T) @ left.T if transposed else w - left @ (right @ w)
    return (out if shift is None else out + shift.to(out)).to(weight.dtype)


def _untie(model: Model) -> bool:
    inputs, head = model.hf.get_input_embeddings(), model.hf.get_output_embeddings()
    if head.weight is not inputs.weight:
        return False
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=head.weight.requires_grad)
    model.hf.config.tie_word_embeddings = False
    return True


def _look(model: Model, edits: tuple[Edit, ...]) -> dict[str, Tensor]:
    """Residual stream and logits of a few tokens, to compare."""
    length = min(12, model.n_ctx or 12)
    tokens = np.random.default_rng(0).integers(0, model.sizes.d_vocab, (3, length))
    prompts = PromptSet.from_tokens([row.tolist() for row in tokens])
    acts = capture(model, prompts, list(model.sites("resid_post")), edits=edits, progress=False)
    seen = {str(site): acts[site].tensor().double().cpu() for site in acts.sites}
    return seen | {"logits": forward(model, prompts, at="all", edits=edits, progress=False).logits.double().cpu()}


def _check(folded: Folded, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    tolerance = TOLERANCE.get(folded.model.dtype, HALF_PRECISION)
    for name, values in wanted.items():
        off = float((found[name] - values).abs().max() / values.abs().max().clamp(min=1e-12))
        if not off <= tolerance:
            raise ModelError(
                f"folding is not exact in {folded.model.architecture}: {name} would be off by {off:.2g} of its largest "
                "value. Something lies between a writing matrix and the residual stream, such as a norm after the MLP "
                "or a scale on the embeddings; use stream_edits(model, eraser) instead"
            )
