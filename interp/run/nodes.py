"""What each node of a model (the input, every head, every MLP) adds to the residual stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..models import Model
from ..models.resolve import Tap
from ..models.ungroup import ungrouped
from ..models.wiring import Block, Wiring, wiring
from ..sites import Site

__all__ = [
    "InputValues",
    "NeuronValues",
    "NodeValues",
    "TargetGradients",
    "Wiring",
    "stream_taps",
    "target_taps",
    "ungrouped",
    "wiring",
    "write_taps",
]


@dataclass(frozen=True, eq=False)
class NodeValues:
    """Node values of a rectangle, kept small: heads in ``d_head`` space, blown up to ``d_model`` when asked for.

    >>> import interp
    >>> from interp.run.tape import Rectangle, Tape
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> with Tape(model, reads=NodeValues.taps(model)) as tape:
    ...     take = tape.play(Rectangle.of(interp.PromptSet.from_tokens([[5, 9, 7, 5]]), [0]))
    >>> NodeValues(wiring(model), take.reads).writes().shape  # 1 input, and 4 heads and an MLP in each of 2 layers
    torch.Size([11, 1, 4, 128])
    """

    wiring: Wiring
    values: dict[str, Float[Tensor, "row pos _"]]

    @classmethod
    def taps(cls, model: Model) -> dict[str, Tap]:
        """Where the values are read: ``input``, ``z.<layer>``, ``mlp.<layer>``."""
        taps = {"input": model.resolve(Site("resid_pre", 0))}
        for layer in range(model.n_layers):
            taps[f"z.{layer}"] = model.resolve(Site("z", layer))
            taps[f"mlp.{layer}"] = model.resolve(Site("mlp_out", layer))
        return taps

    @classmethod
    def read(cls, model: Model, reads: dict[str, Tensor]) -> NodeValues:
        """From what a tape read at `taps`, among other things."""
        return cls(wiring(model), {name: reads[name] for name in cls.taps(model)})

    def take(self, rows: slice | Tensor) -> NodeValues:
        """Some of the rows."""
        return replace(self, values={k: v[rows] for k, v in self.values.items()})

    def at(self, columns: slice) -> NodeValues:
        """Some of the columns."""
        return replace(self, values={k: v[:, columns] for k, v in self.values.items()})

    def aligned(self, column: Int[Tensor, "row pos"]) -> NodeValues:
        """Row by row, the values at the columns given."""
        index = column[..., None].to(next(iter(self.values.values())).device)
        moved = {k: v.gather(1, index.expand(-1, -1, v.shape[-1])) for k, v in self.values.items()}
        return replace(self, values=moved)

    @torch.no_grad()
    def layer(self, layer: int) -> Float[Tensor, "node row pos d_model"]:
        """What each head of a layer, then its MLP, adds to the stream."""
        heads = self.wiring.blocks[layer].output.writes(self.values[f"z.{layer}"])
        return torch.cat([heads, self.values[f"mlp.{layer}"][None]])

    def pieces(self) -> Iterator[Float[Tensor, "node row pos _"]]:
        """The input, then layer by layer its heads and MLP, as they add to the stream."""
        yield self.values["input"][None]
        yield from (self.layer(i) for i in range(len(self.wiring.blocks)))

    def writes(self) -> Float[Tensor, "node row pos _"]:
        """All pieces, one after the other."""
        return torch.cat(list(self.pieces()))

    @property
    def n_nodes(self) -> int:
        """How many nodes `writes` gives."""
        return 1 + sum(block.output.heads + 1 for block in self.wiring.blocks)


class InputValues(NodeValues):
    """The input alone."""

    @classmethod
    def taps(cls, model: Model) -> dict[str, Tap]:
        """Where it is read."""
        return {"input": model.resolve(Site("resid_pre", 0))}

    def pieces(self) -> Iterator[Float[Tensor, "node row pos _"]]:
        """What the input writes."""
        yield self.values["input"][None]

    @property
    def n_nodes(self) -> int:
        """One."""
        return 1


class NeuronValues(NodeValues):
    """The same for MLP neurons: ``writes`` gives the hidden activations, one "node" per layer, ``d_mlp`` wide."""

    @classmethod
    def taps(cls, model: Model) -> dict[str, Tap]:
        """Where the values are read: ``post.<layer>``; and ``input``, which an integral starts from."""
        taps = {f"post.{layer}": model.resolve(Site("mlp_post", layer)) for layer in range(model.n_layers)}
        return taps | {"input": model.resolve(Site("resid_pre", 0))}

    def pieces(self) -> Iterator[Float[Tensor, "node row pos _"]]:
        """Each layer's hidden activations."""
        yield from (v[None] for name, v in self.values.items() if name != "input")

    @property
    def n_nodes(self) -> int:
        """How many layers there are."""
        return len(self.values) - 1


def write_taps(model: Model) -> dict[str, Tap]:
    """Where nodes write into the stream: ``input``, ``attn.<layer>`` (all heads together), ``mlp.<layer>``."""
    taps = {"input": model.resolve(Site("resid_pre", 0))}
    for layer in range(model.n_layers):
        taps[f"attn.{layer}"] = model.resolve(Site("attn_out", layer))
        taps[f"mlp.{layer}"] = model.resolve(Site("mlp_out", layer))
    return taps


def target_taps(model: Model, first: int = 0) -> dict[str, Tap]:
    """Where the gradients of the nodes' inputs are taken, behind norms and before rotary positions and QK-norm.

    ``q.<layer>`` and so on (``qkv.<layer>`` where the three are one matrix), ``mlp.<layer>`` and ``logits``, of the
    layers from ``first`` on.
    """
    found = wiring(model)
    taps: dict[str, Tap] = {}
    for layer, block in list(enumerate(found.blocks))[first:]:
        for name, part in _modules(block).items():
            taps[f"{name}.{layer}"] = replace(block.attention.taps[part], columns=None)
        taps[f"mlp.{layer}"] = block.mlp.taps["mlp"]
    return taps | {"logits": found.final}


def stream_taps(model: Model, first: int = 0) -> dict[str, Tap]:
    """Where the streams are read that norms before attention and MLPs see, from layer ``first`` on."""
    taps: dict[str, Tap] = {}
    for block in wiring(model).blocks[first:]:
        for branch in (block.attention, block.mlp):
            if branch.norm is not None:
                taps[str(branch.stream)] = model.resolve(branch.stream)
    return taps


def _modules(block: Block) -> dict[str, str]:
    """The projections' modules, each named once: ``q k v``, or ``qkv`` if they share one; and a part of each."""
    if block.projections["q"].module is block.projections["k"].module:
        return {"qkv": "q"}
    return {part: part for part in "qkv"}


@dataclass(frozen=True, eq=False)
class TargetGradients:
    """Gradients at the targets' own inputs, rebuilt as gradients of the residual stream when asked for.

    A head's gradient is kept in ``d_head`` numbers per token; in the stream it is ``J_norm^T (W[h] g[h])``.
    """

    wiring: Wiring
    gradients: dict[str, Float[Tensor, "row pos width"]]
    streams: dict[str, Float[Tensor, "row pos d_model"]]

    @torch.no_grad()
    def part(
        self, layer: int, part: str, heads: slice = slice(None), columns: slice = slice(None)
    ) -> Float[Tensor, "target row pos d_model"]:
        """The gradients of the stream that some heads' ``q``, ``k`` or ``v``, or the ``mlp``, of a layer read."""
        block = self.wiring.blocks[layer]
        branch = block.mlp if part == "mlp" else block.attention
        if part == "mlp":
            behind = self.gradients[f"mlp.{layer}"][None, :, columns]
        else:
            projection = block.projections[part]
            own = self.gradients.get(f"{part}.{layer}")
            if own is None:
                own = self.gradients[f"qkv.{layer}"]
            own = own if projection.columns is None else own[..., projection.columns]
            own = own[:, columns]
            split = own.unflatten(-1, (projection.heads, -1))[..., heads, :].flatten(0, 1)
            # As views, which a product of many small matrices takes as they are; einsum would copy.
            behind = torch.bmm(split.transpose(0, 1), projection.weight[heads]).unflatten(1, own.shape[:2])
        if branch.norm is None:
            return behind
        return branch.pull(self.streams[str(branch.stream)][:, columns], behind)

    def logits(self, columns: slice = slice(None)) -> Float[Tensor, "target row pos d_model"]:
        """The gradient of the stream that the final norm reads."""
        return self.gradients["logits"][None, :, columns]
