"""``Model``: a causal language model whose sites have names. It owns no hooks."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError, SiteError
from ..provenance import Provenance, code_version
from ..sites import SITES, Site
from . import resolve as _resolve

# Config entries that say how a model was loaded or saved, not what it computes.
_NOT_IDENTITY = {
    "_attn_implementation",
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model, in the field's names."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    d_vocab: int
    n_ctx: int | None


@dataclass(frozen=True, eq=False)
class Model:
    """A causal LM in Hugging Face form, with named sites.

    ``hf`` is the plain Hugging Face model and is what runs: its numbers are the raw ones, with no folding. ``bridge``
    is a TransformerLens `TransformerBridge` over the *same* weights, built when first used, so that a TransformerLens
    user can drop down; nothing is copied. Make one with `load_model` or, from objects at hand, `Model.wrap`.
    """

    hf: Any
    tokenizer: Any
    sizes: Sizes
    id: str
    revision: str | None = None
    adapter: Any = field(default=None, repr=False)

    @classmethod
    def wrap(cls, hf: Any, tokenizer: Any = None, *, id: str = "in-memory", revision: str | None = None) -> Model:
        """Wrap a loaded Hugging Face causal LM in place.

        Raises:
            ModelError: TransformerLens has no adapter for this architecture.
        """
        adapter = _adapter_for(hf)
        cfg = adapter.cfg
        d_head = int(cfg.d_head)
        sizes = Sizes(
            n_layers=int(cfg.n_layers),
            d_model=int(cfg.d_model),
            n_heads=int(cfg.n_heads),
            n_kv_heads=int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads),
            d_head=d_head,
            d_mlp=int(getattr(hf.config, "ffn_dim", None) or cfg.d_mlp or 4 * cfg.d_model),
            d_vocab=int(hf.get_output_embeddings().weight.shape[0]),
            n_ctx=_context_length(hf.config),
        )
        hf.eval()
        return cls(hf=hf, tokenizer=tokenizer, sizes=sizes, id=id, revision=revision, adapter=adapter)

    @property
    def architecture(self) -> str:
        """The Hugging Face class name, such as ``LlamaForCausalLM``."""
        return type(self.hf).__name__

    @property
    def cfg(self) -> Any:
        """The Hugging Face config."""
        return self.hf.config

    @property
    def parts(self) -> dict[str, Any]:
        """The adapter's description of the model's parts (used to resolve sites)."""
        return self.adapter.component_mapping

    @property
    def device(self) -> torch.device:
        """Where the model takes its inputs."""
        return self.hf.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the embedding weights."""
        return self.hf.get_input_embeddings().weight.dtype

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.sizes.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.sizes.d_model

    @property
    def n_ctx(self) -> int | None:
        """Longest prompt the model takes, or ``None`` where the config names none."""
        return self.sizes.n_ctx

    def module(self, path: str) -> nn.Module:
        """The submodule of ``hf`` at a dotted path. Raises AttributeError where there is none."""
        return self.hf.get_submodule(path)

    def resolve(self, site: Site | str) -> _resolve.Tap:
        """Where a site is read and written. Raises `SiteError`, listing what exists."""
        return _resolve.resolve(self, Site.parse(site))

    def sites(self, kinds: str | Iterable[str] | None = None) -> tuple[Site, ...]:
        """Every whole site of the model, or those of some kinds, in the order of a forward pass.

        Raises:
            SiteError: a kind that does not exist, here or at all.
        """
        here = _resolve.kinds(self)
        wanted = here if kinds is None else ([kinds] if isinstance(kinds, str) else list(kinds))
        for kind in wanted:
            if kind not in SITES:
                raise SiteError(f"unknown site kind {kind!r}; kinds in this model: {', '.join(here)}")
            if kind not in here:
                self.resolve(Site(kind, 0 if SITES[kind].layered else None))  # raises, saying why
        layers = range(self.n_layers)
        found = [Site(k, layer) for k in wanted for layer in (layers if SITES[k].layered else [None])]
        return tuple(sorted(s for s in found if _resolve._locate(self, s) is not None))

    def expand(self, specs: str | Site | Iterable[str | Site]) -> tuple[Site, ...]:
        """Sites from what a user writes: ``"resid_post"`` (every layer), ``"resid_post.2,z.3.h1"``, `Site` values.

        Negative layers count from the end: ``resid_post.-1`` is the last block.
        """
        items = [specs] if isinstance(specs, (str, Site)) else list(specs)
        found: list[Site] = []
        for item in items:
            for text in item.split(",") if isinstance(item, str) else [item]:
                if isinstance(text, Site):
                    found.append(text)
                    continue
                text = text.strip()
                if text in SITES and SITES[text].layered:
                    found.extend(self.sites(text))
                else:
                    found.append(Site.parse(self._from_the_end(text)))
        if not found:
            raise SiteError("no sites given; write, say, 'resid_post' or 'resid_post.0,mlp_out.1'")
        for site in found:
            self.resolve(site)
        return tuple(sorted(set(found)))

    def _from_the_end(self, text: str) -> str:
        kind, _, rest = text.partition(".")
        if rest.startswith("-"):
            layer, dot2, head = rest.partition(".")
            if layer[1:].isdigit() and 0 < int(layer[1:]) <= self.n_layers:
                return f"{kind}.{self.n_layers - int(layer[1:])}{dot2}{head}"
        return text

    @cached_property
    def bridge(self) -> Any:
        """A TransformerLens `TransformerBridge` over the same weights (same storage), for what interp does not do.

        TransformerLens splits a fused QKV projection into copies; those alone do not follow later changes of a weight.

        Its modules are a second tree over the same parameters, so that hooks put on it, or weights folded in it
        (``bridge.enable_compatibility_mode()``), do not change what ``interp`` reports.
        """
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        shared = {id(t): t for t in (*self.hf.parameters(), *self.hf.buffers())}
        twin = copy.deepcopy(self.hf, shared)
        twin.config._attn_implementation = "eager"  # the bridge reads scores and patterns
        # The bridge sets up padding on the tokenizer it is given; ours stays as it was loaded.
        tokenizer = copy.deepcopy(self.tokenizer)
        return build_bridge_from_module(
            twin, self.architecture, hf_config=twin.config, tokenizer=tokenizer, dtype=self.dtype, model_name=self.id
        )

    @property
    def fingerprint(self) -> str:
        """Hash of weights and config; two models with the same fingerprint compute the same thing.

        Weights in host memory are hashed whenever it is asked for (0.05 s per GB), because a write through ``.data``
        leaves no trace. Those on a GPU are summed there, bit patterns as integers, and hashed again if a sum differs.
        """
        if self.device.type == "cpu":
            return _fingerprint(self.hf)
        trace = (_config_text(self.hf), _bit_sums(self.hf))
        cached = self.__dict__.get("_fingerprint")
        if cached is None or cached[0] != trace:
            cached = (trace, _fingerprint(self.hf))
            self.__dict__["_fingerprint"] = cached
        return cached[1]

    def provenance(self, **fields: Any) -> Provenance:
        """A `Provenance` for this model, with the other fields given."""
        known: dict[str, Any] = {"dtype": str(self.dtype).removeprefix("torch."), "code": code_version()}
        return Provenance(model=self.fingerprint, model_id=self.id, revision=self.revision, **(known | fields))

    def untrained(self, seed: int = 0) -> Model:
        """The same architecture with freshly initialised weights: the control for 'is it in the training?'."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = type(self.hf)(copy.deepcopy(self.cfg))
        fresh = fresh.to(device=self.device, dtype=self.dtype)
        return Model.wrap(fresh, self.tokenizer, id=f"{self.id} (untrained, seed {seed})")

    def copy(self, *, id: str | None = None) -> Model:
        """The same model with weights of its own, all of them trainable: nothing done to one reaches the other.

        Weights that are tied stay tied. The tokenizer is shared. ``id`` is by default this one's with "(copy)".

        >>> from interp import load_model, testbeds
        >>> model = load_model(testbeds.path("induction"))
        >>> twin = model.copy()
        >>> twin.fingerprint == model.fingerprint
        True
        >>> _ = twin.hf.get_input_embeddings().weight.data.zero_()
        >>> twin.fingerprint == model.fingerprint
        False
        """
        with torch.inference_mode(False):
            fresh = copy.deepcopy(self.hf)
        for parameter in fresh.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
            parameter.grad = None
        name = f"{self.id} (copy)" if id is None else id
        return Model.wrap(fresh, self.tokenizer, id=name, revision=self.revision)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a Hugging Face checkpoint, with the tokenizer if there is one, that `load_model` reads back.

        What was written is read again and must have this model's fingerprint, so that artefacts of the one fit the
        other. Files of the same names are replaced.

        Raises:
            ModelError: the folder cannot be written, or what it holds afterwards is another model.
        """
        from .load import no_bars, read_checkpoint

        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
            with no_bars():
                self.hf.save_pretrained(path)
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(path)
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"could not write {self.id!r} to {str(path)!r}: {error}") from error
        found = _fingerprint(read_checkpoint(path, self.dtype))
        if found != self.fingerprint:
            raise ModelError(
                f"the checkpoint in {str(path)!r} is not the model that was saved (fingerprint {found}, should be "
                f"{self.fingerprint}); the config and the weights may disagree, as on which of them are tied"
            )
        return path

    def __repr__(self) -> str:
        s = self.sizes
        return (
            f"Model({self.id!r}, {self.architecture}, {s.n_layers} layers, d_model {s.d_model}, {s.n_heads} heads "
            f"({s.n_kv_heads} KV), vocab {s.d_vocab}, {str(self.dtype).removeprefix('torch.')} on {self.device})"
        )


def _adapter_for(hf: nn.Module) -> Any:
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf

    name = type(hf).__name__
    try:
        config = build_bridge_config_from_hf(hf.config, name, "interp", torch.float32)
        return ArchitectureAdapterFactory.select_architecture_adapter(config)
    except (ValueError, AttributeError, KeyError) as error:
        raise ModelError(f"TransformerLens has no adapter for {name!r}, so its sites have no names: {error}") from error


def _context_length(config: Any) -> int | None:
    for name in ("n_positions", "max_position_embeddings", "max_sequence_length", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _config_text(hf: Any) -> str:
    config = {k: v for k, v in hf.config.to_dict().items() if k not in _NOT_IDENTITY}
    return json.dumps({"class": type(hf).__name__, "config": config}, sort_keys=True, default=str)


def _fingerprint(hf: Any) -> str:
    import xxhash

    digest = xxhash.xxh3_128(_config_text(hf).encode())
    for name, tensor in sorted(hf.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        data = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(data.view(torch.uint8).numpy() if data.numel() else b"")
    return digest.hexdigest()


_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _bit_sums(hf: Any) -> list[int]:
    """Sum and version of each tensor: a write through torch changes the one, a write to a single number the other."""
    tensors = list(hf.state_dict().values())
    bits = [t.detach().contiguous().view(_INTEGERS[t.element_size()]) for t in tensors]
    return [*(int(b.sum(dtype=torch.int64)) for b in bits), *(t._version for t in tensors)]
