"""``Tape``: forward passes that write, read and cut at any taps at once, and the gradients at the cuts.

It is what attribution needs and the other run functions do not give: activations and gradients of one pass together,
under writes, beginning at any block, with logits at one token per row only.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ActivationError
from ..models import Model
from ..models.hooks import Hooks, Write
from ..models.resolve import Tap
from ..models.rules import FrozenSoftmax, SecantSoftmax
from ..models.wiring import wiring
from ..prompts import PromptSet
from ..prompts.batching import pad_batch
from ..sites import Site
from .where import mark_positions


@dataclass(frozen=True, eq=False)
class Rectangle:
    """Right-padded rows of tokens, and the token of each row whose logits are wanted."""

    input_ids: Int[Tensor, "row pos"]
    position_ids: Int[Tensor, "row pos"]
    at: Int[Tensor, " row"]

    @classmethod
    def of(cls, prompts: PromptSet, which: Sequence[int] | np.ndarray, at: str = "last") -> Rectangle:
        """Some prompts of a set; ``at`` is the mark whose logits are wanted."""
        batch = pad_batch([prompts.tokens[i] for i in which], side="right")
        return cls(batch.input_ids, batch.position_ids, torch.from_numpy(mark_positions(prompts, at)[which]))

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    @property
    def width(self) -> int:
        """Columns, padding included."""
        return self.input_ids.shape[1]

    def times(self, n: int) -> Rectangle:
        """All rows ``n`` times over, one whole copy after the other."""
        return Rectangle(self.input_ids.repeat(n, 1), self.position_ids.repeat(n, 1), self.at.repeat(n))

    def below(self, other: Rectangle) -> Rectangle:
        """These rows, then the other's, padded to one width."""
        width = max(self.width, other.width)
        ids, positions = (
            torch.cat([torch.nn.functional.pad(x, (0, width - x.shape[1])) for x in both])
            for both in ((self.input_ids, other.input_ids), (self.position_ids, other.position_ids))
        )
        return Rectangle(ids, positions, torch.cat([self.at, other.at]))


@dataclass(frozen=True, eq=False)
class Take:
    """What one pass gave: logits at each row's token, what was read, and the tensors at the cuts."""

    logits: Float[Tensor, "row vocab"]
    reads: dict[str, Tensor]
    cuts: dict[str, Tensor]

    def gradients(self, value: Float[Tensor, " row"], *, keep: bool = False) -> dict[str, Tensor]:
        """The gradient of the sum of ``value`` at every cut; the pass's graph is freed, unless it is to be kept.

        Raises:
            ActivationError: ``value`` depends on none of the cuts.
        """
        if not value.requires_grad:
            raise ActivationError("the metric does not depend on the model's activations: it is a constant")
        found = torch.autograd.grad(value.sum(), list(self.cuts.values()), allow_unused=True, retain_graph=keep)
        return {
            name: torch.zeros_like(x) if g is None else g for (name, x), g in zip(self.cuts.items(), found, strict=True)
        }

    def through(self, name: str, into: Sequence[str], gradient: Tensor) -> dict[str, Tensor]:
        """A gradient at one cut taken back to earlier ones, along what lies between them; the graph must be kept."""
        found = torch.autograd.grad(self.cuts[name], [self.cuts[i] for i in into], gradient, retain_graph=True)
        return dict(zip(into, found, strict=True))


class Tape:
    """Passes of one kind over a model, in which parameters get no gradient; a context manager.

    ``reads`` are copied out. ``cuts`` are the tensors that gradients are asked for: each is a branch of its own, so
    that what other consumers of the same tensor do with it does not count. ``writes`` come before both. With ``start``
    the blocks before that layer are not computed: write the stream at ``resid_pre.<start>`` (or, if no block is left,
    at ``resid_post`` of the last). ``secants`` are attention patterns of another run, by layer: gradients through the
    softmax there are those of the whole way between the two runs (see `interp.models.rules`); ``None`` in place of a
    pattern says that none go through it at all.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> rows = Rectangle.of(interp.PromptSet.from_tokens([[5, 9, 7, 5]]), [0])
    >>> with Tape(model, cuts={"v": model.resolve("v.1")}) as tape:
    ...     take = tape.play(rows, gradients=True)
    ...     found = take.gradients(take.logits[:, 9])
    >>> found["v"].shape
    torch.Size([1, 4, 128])
    """

    def __init__(
        self,
        model: Model,
        *,
        reads: Mapping[str, Tap] | None = None,
        cuts: Mapping[str, Tap] | None = None,
        writes: Sequence[tuple[Tap, Write]] = (),
        start: int = 0,
        secants: Mapping[int, Float[Tensor, "row head query key"] | None] | None = None,
    ) -> None:
        self.model = model
        self._reads: dict[str, Tensor] = {}
        self._cuts: dict[str, Tensor] = {}
        skip = [(b.module, b.returns_tuple) for b in wiring(model).blocks[:start]] if start else ()
        self._hooks = Hooks(
            model,
            [(tap, partial(self._read, name)) for name, tap in (reads or {}).items()],
            [*writes, *((tap, partial(self._cut, name)) for name, tap in (cuts or {}).items())],
            skip=skip,
            rules=[
                (
                    model.resolve(Site("pattern", layer)).module,
                    FrozenSoftmax() if other is None else SecantSoftmax(other),
                )
                for layer, other in (secants or {}).items()
            ],
        )

    def __enter__(self) -> Tape:
        self._hooks.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.__exit__()
        # What was taken has references of its own; the hooks' must not keep the tensors until the collector comes by.
        self._reads, self._cuts = {}, {}

    def _read(self, name: str, x: Tensor) -> None:
        self._reads[name] = x.detach().clone()

    def _cut(self, name: str, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            x = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
        self._cuts[name] = x
        return x

    def play(self, rows: Rectangle, *, gradients: bool = False) -> Take:
        """Run one pass; with ``gradients`` its graph is kept until `Take.gradients`."""
        self._reads, self._cuts = {}, {}
        asking = frozen(self.model) if gradients else nullcontext()
        with torch.inference_mode(False), torch.set_grad_enabled(gradients), asking:
            logits = logits_at(self.model, self._hooks, rows)
        return Take(logits, self._reads, self._cuts)


def logits_at(model: Model, hooks: Hooks, rows: Rectangle) -> Float[Tensor, "row vocab"]:
    """Logits at each row's token; where the model can, those of other tokens are never computed."""
    device = model.device
    inputs: dict[str, Any] = {
        "input_ids": rows.input_ids.to(device),
        "position_ids": rows.position_ids.to(device),
        "use_cache": False,
    }
    kept = torch.arange(rows.width)
    if "logits_to_keep" in inspect.signature(model.hf.forward).parameters:
        kept = rows.at.unique()
        inputs["logits_to_keep"] = kept.to(device)
    output = hooks.run(lambda: model.hf(**inputs), batch=len(rows))
    column = torch.searchsorted(kept, rows.at).to(output.logits.device)
    return output.logits[torch.arange(len(rows), device=column.device), column]


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """No parameter gets a gradient inside; afterwards each asks for one as before."""
    asked = [p for p in model.hf.parameters() if p.requires_grad]
    for parameter in asked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)
