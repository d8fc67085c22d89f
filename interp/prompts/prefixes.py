"""Which prompts share a prefix that is worth computing once.

In a causal model equal prefixes have equal activations, whatever follows. `prefix_plan` finds the groups: one header
shared by all, several different headers, or pairs that agree up to a point which differs from pair to pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PromptError

_CHUNK_TOKENS = 1 << 22

# A wide group is kept unless splitting it saves this much more: one header for all is better than a thousand groups
# that each add the first token of what follows.
_SPLIT_GAIN = 0.05


@dataclass(frozen=True, eq=False)
class PrefixGroup:
    """Prompts ``members`` all begin with ``prefix`` and go on for at least one token more."""

    prefix: np.ndarray
    members: np.ndarray

    @property
    def length(self) -> int:
        """Tokens in the prefix."""
        return len(self.prefix)

    @property
    def saved_tokens(self) -> int:
        """Tokens that need not be computed: the prefix, for every member but one."""
        return self.length * (len(self.members) - 1)


@dataclass(frozen=True, eq=False)
class PrefixPlan:
    """Disjoint groups (most tokens saved first), and ``rest``, the prompts that are in none."""

    groups: tuple[PrefixGroup, ...]
    rest: np.ndarray
    total_tokens: int

    @property
    def saved_tokens(self) -> int:
        """Tokens that need not be computed, over all groups."""
        return sum(g.saved_tokens for g in self.groups)

    @property
    def saved_fraction(self) -> float:
        """``saved_tokens`` as a share of all tokens."""
        return self.saved_tokens / self.total_tokens if self.total_tokens else 0.0

    def __repr__(self) -> str:
        return (
            f"PrefixPlan({len(self.groups)} groups, {len(self.rest)} prompts in none, "
            f"saves {self.saved_tokens} of {self.total_tokens} tokens = {self.saved_fraction:.1%})"
        )


def prefix_plan(tokens: Sequence[np.ndarray], min_saving: float = 0.1, *, min_prefix: int = 2) -> PrefixPlan:
    """Disjoint groups of prompts that save the most tokens when each group's prefix is computed once.

    Groups each save at least ``min_saving`` of their own tokens and share at least ``min_prefix`` tokens. A group is
    split into groups with longer prefixes where that saves over 5 % more. Every member keeps at least one token of
    its own, also a prompt that equals the prefix (so a row with a logit to read always exists). Pass distinct
    sequences (see `dedupe`); equal ones are legal but are then only shared up to their last token.

    Args:
        tokens: unpadded token ids, each at least one token long.
        min_saving: smallest saved share of a group's tokens, 0 to 1.
        min_prefix: shortest prefix worth a separate run, in tokens.

    Raises:
        PromptError: ``min_saving`` outside 0..1, ``min_prefix`` below 1, an empty prompt, or a negative token id.

    >>> plan = prefix_plan([np.array([1, 2, 3, 4]), np.array([9, 9]), np.array([1, 2, 3, 5, 6])])
    >>> [(g.prefix.tolist(), g.members.tolist()) for g in plan.groups], plan.rest.tolist(), plan.saved_tokens
    ([([1, 2, 3], [0, 2])], [1], 3)
    """
    if not 0 <= min_saving <= 1:
        raise PromptError(f"min_saving is a share between 0 and 1, got {min_saving}")
    if min_prefix < 1:
        raise PromptError(f"min_prefix must be at least 1 token, got {min_prefix}")
    lengths = np.array([len(t) for t in tokens], dtype=np.int64)
    if len(lengths) and lengths.min() < 1:
        raise PromptError(f"prompt {int(lengths.argmin())} has no tokens")
    order, shared = _sorted_with_shared(tokens)
    summed = np.concatenate([[0], np.cumsum(lengths[order])])
    groups = []
    grouped = np.zeros(len(tokens), dtype=bool)
    for left, right, depth in _best_intervals(shared, summed, min_saving, min_prefix):
        members = np.sort(order[left : right + 1])
        grouped[members] = True
        groups.append(PrefixGroup(np.array(tokens[members[0]][:depth], dtype=np.int64), members))
    groups.sort(key=lambda g: (-g.saved_tokens, int(g.members[0])))
    return PrefixPlan(tuple(groups), np.flatnonzero(~grouped), int(lengths.sum()))


def _sorted_with_shared(tokens: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Lexicographic order of the prompts without their last token, and how many tokens neighbours share in it."""
    keys = []
    for i, sequence in enumerate(tokens):
        ids = np.asarray(sequence)
        if ids.min() < 0 or ids.max() >= 1 << 32:
            raise PromptError(f"prompt {i} holds token id {int(ids.min())}..{int(ids.max())}; ids are 0 to 2**32-1")
        # Big-endian bytes compare like the ids they spell; the last token stays each prompt's own.
        keys.append(ids[:-1].astype(">u4").tobytes())
    order = sorted(range(len(keys)), key=keys.__getitem__)
    shared = np.zeros(max(len(keys) - 1, 0), dtype=np.int64)
    first = 0
    while first < len(shared):
        last, size = first, 0
        while last < len(shared) and size < _CHUNK_TOKENS:
            size += len(keys[order[last]]) // 4
            last += 1
        shared[first:last] = _shared_lengths([keys[i] for i in order[first : last + 1]])
        first = last
    return np.array(order, dtype=np.int64), shared


def _shared_lengths(keys: list[bytes]) -> np.ndarray:
    """Common prefix length, in tokens, of each key with the next one."""
    flat = np.frombuffer(b"".join(keys), dtype=">u4").astype(np.uint32)
    sizes = np.array([len(k) // 4 for k in keys], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    both = np.minimum(sizes[:-1], sizes[1:])
    out = both.copy()
    some = np.flatnonzero(both)
    if not len(some):
        return out
    count = both[some]
    begin = np.cumsum(count) - count
    within = np.arange(int(count.sum())) - np.repeat(begin, count)
    differs = flat[np.repeat(starts[some], count) + within] != flat[np.repeat(starts[some + 1], count) + within]
    out[some] = np.minimum.reduceat(np.where(differs, within, np.repeat(count, count)), begin)
    return out


class _Node:
    """An interval of sorted prompts that share ``depth`` tokens, with the best plan below it."""

    __slots__ = ("below", "chosen", "depth", "left", "value")

    def __init__(self, depth: int, left: int) -> None:
        self.depth, self.left = depth, left
        self.value = 0  # tokens saved by the best plan inside
        self.below: list[_Node] = []
        self.chosen: tuple[int, int, int] | None = None


def _best_intervals(
    shared: np.ndarray, summed: np.ndarray, min_saving: float, min_prefix: int
) -> list[tuple[int, int, int]]:
    """``(left, right, depth)`` of the best disjoint groups: each node of the prefix tree against its children."""

    def close(node: _Node, right: int) -> None:
        saved = node.depth * (right - node.left)
        if not saved:
            return
        enough = saved >= min_saving * int(summed[right + 1] - summed[node.left])
        if node.depth >= min_prefix and enough and saved * (1 + _SPLIT_GAIN) >= node.value:
            node.value, node.chosen, node.below = saved, (node.left, right, node.depth), []

    root = _Node(0, 0)
    stack = [root]
    for right, depth in enumerate([*shared.tolist(), 0]):
        left, closed = right, None
        while stack[-1].depth > depth:
            node = stack.pop()
            close(node, right)
            left, closed = node.left, node
            if stack[-1].depth >= depth:
                _adopt(stack[-1], node)
                closed = None
        if stack[-1].depth < depth:
            stack.append(_Node(depth, left))
            if closed is not None:
                _adopt(stack[-1], closed)
    found, todo = [], [root]
    while todo:
        node = todo.pop()
        if node.chosen is not None:
            found.append(node.chosen)
        todo += node.below
    return found


def _adopt(parent: _Node, child: _Node) -> None:
    if child.value:
        parent.value += child.value
        parent.below.append(child)
