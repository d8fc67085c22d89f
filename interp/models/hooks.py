"""The only file that registers a hook: reads, writes and an early stop, for the length of one ``with`` block.

Writes at a site run before reads of it; a read must copy what it keeps. Every tap must fire exactly once per forward
pass, or the pass raises. Whatever happens inside the block, the model leaves it with the hooks it came with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import HookError
from .resolve import Tap

if TYPE_CHECKING:
    from .model import Model

Read = Callable[[torch.Tensor], None]
Write = Callable[[torch.Tensor], torch.Tensor]

PATTERN_ATTENTION = "interp_pattern"
_pattern_taps: WeakKeyDictionary[nn.Module, Callable[[torch.Tensor], torch.Tensor]] = WeakKeyDictionary()
_rules: WeakKeyDictionary[nn.Module, TorchFunctionMode] = WeakKeyDictionary()


class _Stop(Exception):
    """Leaves a forward pass after the last tap; never seen outside `Hooks.run`."""


class Hooks:
    """Reads and writes on a model's taps, installed for the length of a ``with`` block.

    Reads get ``[batch, pos, width]`` tensors that may be views of live activations. Writes get the same and return the
    replacement; they must not write in place. ``stop=True`` ends each pass once every tap has fired, so that no later
    block, final norm or unembedding is computed. ``skip`` names blocks that hand on what they are given without
    computing anything, each with whether it returns a tuple (see `block_forms`); taps inside them never fire.
    ``rules`` are attention modules that differentiate by a rule (see `interp.models.rules`). Hooks that were left have
    let go of every tensor and cannot be entered again.

    Raises:
        HookError: after a pass in which some tap fired more or less than once; or these hooks were entered before.
    """

    def __init__(
        self,
        model: Model,
        reads: Sequence[tuple[Tap, Read]] = (),
        writes: Sequence[tuple[Tap, Write]] = (),
        *,
        stop: bool = False,
        skip: Sequence[tuple[nn.Module, bool]] = (),
        rules: Sequence[tuple[nn.Module, TorchFunctionMode]] = (),
    ) -> None:
        self._model = model
        self._stop = stop
        self._skip, self._rules = tuple(skip), tuple(rules)
        self._stack = ExitStack()
        self._batch = 0
        self._spent = False
        # One hook per (module, side), so that write-before-read holds whatever the order of registration.
        self._points: dict[tuple[nn.Module, str], _Point] = {}
        for tap, write in writes:
            self._point(tap).writes.append((tap, write))
        for tap, read in reads:
            self._point(tap).reads.append((tap, read))
        for point in [p for p in self._points.values() if p.writes and p.tap.around is not None]:
            assert point.tap.around is not None
            self._point(replace(point.tap, module=point.tap.around, side="out", around=None)).changes.append(point)

    def _point(self, tap: Tap) -> _Point:
        return self._points.setdefault((tap.module, tap.side), _Point(tap, self._fired))

    def _fired(self) -> None:
        self._pending -= 1
        if self._stop and self._pending == 0:
            raise _Stop

    def __enter__(self) -> Hooks:
        if self._spent:
            raise HookError("these hooks were installed once already; make new ones")
        try:
            for point in self._points.values():
                self._stack.enter_context(_installed(point))
            for block, returns_tuple in self._skip:
                self._stack.enter_context(_passing_on(block, returns_tuple))
            for attention, rule in self._rules:
                self._stack.enter_context(_ruled(attention, rule))
            if self._rules or any(side == "pattern" for _, side in self._points):
                self._stack.enter_context(_attention(self._model.hf, PATTERN_ATTENTION))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._spent, self._rules = True, ()
        for point in self._points.values():  # they hold on to tensors, and this and they to each other
            point.reads, point.writes, point.changes, point.changed_by = [], [], [], None

    def run(self, forward: Callable[[], Any], batch: int) -> Any:
        """Run one forward pass; its output, or ``None`` if it was stopped early. ``batch`` is the number of rows."""
        self._pending = len(self._points)
        for point in self._points.values():
            point.batch, point.count = batch, 0
        try:
            output = forward()
        except _Stop:
            output = None
        wrong = [f"{p.tap.site} fired {p.count} times" for p in self._points.values() if p.count != 1]
        if wrong:
            raise HookError(f"each tap must fire once per forward pass, but {'; '.join(wrong)}")
        return output


class _Point:
    """All reads and writes on one side of one module."""

    def __init__(self, tap: Tap, fired: Callable[[], None]) -> None:
        self.tap = tap
        self.fired = fired
        self.reads: list[tuple[Tap, Read]] = []
        self.writes: list[tuple[Tap, Write]] = []
        self.changes: list[_Point] = []  # points whose tensor reaches this one by another path, unwritten
        self.changed_by: torch.Tensor | None = None
        self.batch = 0
        self.count = 0

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Apply writes, then reads; the new tensor, or ``None`` if nothing was written."""
        self.count += 1
        # Some models flatten batch and position before an MLP (OPT).
        flat = tensor.ndim == 2
        x = tensor.reshape(self.batch, -1, tensor.shape[-1]) if flat else tensor
        for point in self.changes:
            assert point.changed_by is not None
            x, point.changed_by = x + point.changed_by.reshape(x.shape), None
        for tap, write in self.writes:
            x = tap.merge(x, write(tap.select(x)))
        if self.writes and self.tap.around is not None:
            # Against the tensor as it came: it is the one that went around, also in the graph of a gradient.
            self.changed_by = x - tensor.reshape(x.shape)
        for tap, read in self.reads:
            read(tap.select(x))
        changed = None
        if self.writes or self.changes:
            changed = x.reshape(tensor.shape) if flat else x
        self.fired()
        return changed


def _installed(point: _Point) -> Any:
    module, side = point.tap.module, point.tap.side
    if side == "in":
        return _Handle(module.register_forward_pre_hook(_pre_hook(point), with_kwargs=True))
    if side == "out":
        return _Handle(module.register_forward_hook(_out_hook(point)))
    if side == "logits":
        return _Handle(module.register_forward_hook(_logits_hook(point)))
    return _PatternTap(module, point)


class _Handle:
    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


def _pre_hook(point: _Point) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            new = point(args[0])
            return None if new is None else ((new, *args[1:]), kwargs)
        new = point(kwargs["hidden_states"])
        return None if new is None else (args, kwargs | {"hidden_states": new})

    return hook


def _out_hook(point: _Point) -> Callable[..., Any]:
    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            new = point(output[0])
            return None if new is None else (new, *output[1:])
        return point(output)

    return hook


def _logits_hook(point: _Point) -> Callable[..., Any]:
    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        new = point(output.logits)
        if new is None:
            return None
        changed = type(output)(**output)
        changed["logits"] = new
        return changed

    return hook


@contextmanager
def _ruled(attention: nn.Module, rule: TorchFunctionMode) -> Iterator[None]:
    _rules[attention] = rule
    try:
        yield
    finally:
        _rules.pop(attention, None)


@contextmanager
def _passing_on(block: nn.Module, returns_tuple: bool) -> Iterator[None]:
    """The block returns the hidden states that it is called with; its forward hooks still see them."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        return (x,) if returns_tuple else x

    block.forward = forward
    try:
        yield
    finally:
        del block.forward


def block_forms(blocks: Sequence[nn.Module], forward: Callable[[], Any]) -> list[bool]:
    """Whether each block returns a tuple (hidden states first), seen in one forward pass."""
    seen: dict[nn.Module, bool] = {}

    def look(module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        seen[module] = isinstance(output, tuple)

    handles = [block.register_forward_hook(look) for block in blocks]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    return [seen[block] for block in blocks]


class _PatternTap:
    """Attention probabilities, seen from inside the attention function."""

    def __init__(self, module: nn.Module, point: _Point) -> None:
        self._module, self._point = module, point

    def _call(self, weights: torch.Tensor) -> torch.Tensor:
        batch, heads, queries, keys = weights.shape
        rows = weights.permute(0, 2, 1, 3).reshape(batch, queries, heads * keys)
        new = self._point(rows)
        return weights if new is None else new.reshape(batch, queries, heads, keys).permute(0, 2, 1, 3)

    def __enter__(self) -> None:
        _pattern_taps[self._module] = self._call

    def __exit__(self, *_: object) -> None:
        _pattern_taps.pop(self._module, None)


def _pattern_attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The model family's own eager attention, with its probabilities shown to the tap on this module."""
    eager = sys.modules[type(module).__module__].eager_attention_forward
    with _rules.get(module) or nullcontext():
        output, weights = eager(module, query, key, value, attention_mask, **kwargs)
    tap = _pattern_taps.get(module)
    if tap is None:
        return output, weights
    new = tap(weights)
    if new is not weights:
        groups = new.shape[1] // value.shape[1]
        values = value.repeat_interleave(groups, dim=1)
        output = torch.matmul(new.to(values.dtype), values).transpose(1, 2).contiguous()
    return output, new


class _attention:
    """Switch a model's attention implementation, and back."""

    def __init__(self, hf: nn.Module, name: str) -> None:
        from transformers import AttentionInterface
        from transformers.masking_utils import AttentionMaskInterface, eager_mask

        AttentionInterface.register(PATTERN_ATTENTION, _pattern_attention)
        AttentionMaskInterface.register(PATTERN_ATTENTION, eager_mask)
        modules: list[Any] = [m for m in hf.modules() if hasattr(m, "config")]
        self._configs = list({id(m.config): m.config for m in modules}.values())
        self._name = name

    def __enter__(self) -> None:
        self._before = [c._attn_implementation for c in self._configs]
        for config in self._configs:
            config._attn_implementation = self._name

    def __exit__(self, *_: object) -> None:
        for config, before in zip(self._configs, self._before, strict=True):
            config._attn_implementation = before


def hook_count(module: nn.Module) -> int:
    """Hooks of every kind on a module and its children; equal before and after any run."""
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) + len(m._backward_pre_hooks)
        for m in module.modules()
    )
