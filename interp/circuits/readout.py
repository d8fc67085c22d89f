"""``Readout``: how a model turns its residual stream into logits, tried on the model itself before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ModelError
from ..prompts import PromptSet
from ..run import capture
from ..sites import Site
from .contributions import final_norm

if TYPE_CHECKING:
    from ..models import Model

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_HALF_PRECISION = 0.05
_TRIED = 4  # prompts


@dataclass(frozen=True, eq=False)
class Readout:
    """Norm, unembedding, then a factor and a soft cap where a model has them; called with rows of the stream.

    ``hash`` is that of the weights of norm and unembedding: what a tuned lens was trained to be read by.
    """

    norm: Any
    unembedding: Any
    factor: float
    cap: float | None
    hash: str

    def __call__(self, rows: Float[Tensor, "*row d"]) -> Float[Tensor, "*row vocab"]:
        """The logits that the model would give if its stream ended here, in float32 or better."""
        logits = self.unembedding(self.norm(rows))
        logits = self.factor * (logits if logits.dtype == torch.float64 else logits.float())
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


def readout(model: Model, prompts: PromptSet) -> Readout:
    """The readout of a model, found in its parts and checked against its own logits on a few of the prompts.

    Raises:
        ModelError: what norm and unembedding make of the last stream is not what the model says.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> read = readout(model, interp.PromptSet.from_tokens([[5, 9, 7, 5]]))
    >>> read.factor, read.cap
    (1.0, None)
    """
    norm, unembedding = final_norm(model), model.hf.get_output_embeddings()
    last, logits = Site("resid_post", model.n_layers - 1), Site("logits")
    acts = capture(model, prompts.select(slice(_TRIED)), [last, logits], at="last", progress=False)
    want = acts[logits].tensor().double()
    with torch.no_grad():
        raw = unembedding(norm(acts[last].tensor().to(model.device))).double().to(want.device)
    cap = getattr(model.cfg.get_text_config(), "final_logit_softcapping", None)
    guesses = [(1.0, None)] if cap is None else [(1.0, float(cap))]
    share = float((want * raw).sum() / raw.square().sum().clamp_min(torch.finfo(torch.float64).tiny))
    guesses += [(share, None)] if cap is None and share > 0 else []
    tolerance = _TOLERANCE.get(model.dtype, _HALF_PRECISION)
    for factor, top in guesses:
        got = factor * raw if top is None else top * torch.tanh(raw / top)
        if float((got - want).abs().max()) <= tolerance * float(want.abs().max().clamp_min(1e-12)):
            return Readout(norm, unembedding, factor, top, _hash(norm, unembedding))
    raise ModelError(
        f"the logits of {model.architecture} are not its unembedding of its normed last stream, nor that times a "
        "constant, so that no lens or direct attribution can read the stream as the model does"
    )


def _hash(*modules: torch.nn.Module) -> str:
    import xxhash

    digest = xxhash.xxh3_128()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
