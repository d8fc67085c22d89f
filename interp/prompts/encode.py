"""Text to exact token ids: which tokens are special, which characters each token covers, and who adds the BOS.

The special mask is what the tokenizer itself says about the tokens that it adds, plus control tokens that are written
out in the text (a template's ``<|im_start|>``, a typed ``</s>``). The padding token plays no part: nothing is padded
here, and an id that is special only because it pads is an ordinary token. The unknown token is ordinary too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import PromptError, TokenizerMissingError

BOS_POLICIES = ("auto", "always", "never")
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Encoded:
    """One text as token ids.

    ``offsets`` are the half-open character ranges of the tokens (empty ranges for added tokens), or ``None`` where the
    tokenizer cannot say. ``lead`` is how many tokens were put in front of those that the text itself gives (negative
    if some of those were removed).
    """

    tokens: np.ndarray
    special: np.ndarray
    offsets: np.ndarray | None
    bos: str
    lead: int


def encode_texts(texts: Sequence[str], tokenizer: Any, *, bos: str = "auto", offsets: bool = True) -> list[Encoded]:
    """Encode plain texts as the tokenizer itself would, and settle the BOS by policy.

    ``auto`` keeps what the tokenizer does but never doubles a BOS that the text already begins with; ``always`` makes
    sure that there is one; ``never`` makes sure that there is none.

    Raises:
        TokenizerMissingError: no tokenizer.
        PromptError: unknown policy, ``always`` without a BOS token, or a text that gives no token at all.
    """
    _check_policy(tokenizer, bos)
    control = _control_table(tokenizer)
    parts = _split(texts, tokenizer, offsets)
    return [_settle(core, front, tail, tokenizer, bos, control, "text") for core, front, tail in parts]


def encode_rendered(texts: Sequence[str], tokenizer: Any, *, bos: str, own_template: bool) -> list[Encoded]:
    """Encode rendered chats, in which the template has already written all control tokens.

    ``auto`` does for the tokenizer's own template exactly what ``apply_chat_template`` does: the template alone
    decides. For a template that the user brought, the tokenizer's habit with plain text decides, unless the template
    writes a BOS.
    """
    _check_policy(tokenizer, bos)
    control = _control_table(tokenizer)
    adds = not own_template and adds_bos(tokenizer)
    none = np.empty(0, dtype=np.int64)
    front = np.array([tokenizer.bos_token_id], dtype=np.int64) if adds else none
    cores = _encode_plain(texts, tokenizer)
    return [_settle(core, front, none, tokenizer, bos, control, "template") for core in cores]


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a BOS in front of plain text."""
    [(_, added, _)] = _split(["a"], tokenizer, False)
    return tokenizer.bos_token_id is not None and len(added) > 0 and int(added[0]) == tokenizer.bos_token_id


def control_mask(tokens: np.ndarray, tokenizer: Any) -> np.ndarray:
    """Special mask of raw ids: the tokenizer's control tokens, without those that only pad."""
    return _is_control(tokens, _control_table(tokenizer))


def token_pieces(tokens: Sequence[np.ndarray], tokenizer: Any) -> dict[int, str]:
    """The vocabulary's string for every id that occurs."""
    ids = np.unique(np.concatenate(tokens)).tolist() if len(tokens) else []
    pieces = tokenizer.convert_ids_to_tokens(ids)
    return {i: "" if piece is None else _shown(piece) for i, piece in zip(ids, pieces, strict=True)}


def _shown(piece: Any) -> str:
    return piece.decode("utf-8", "replace") if isinstance(piece, bytes) else str(piece)


def _check_policy(tokenizer: Any, bos: str) -> None:
    if tokenizer is None:
        raise TokenizerMissingError(
            "text was given, but there is no tokenizer; pass one, or give token ids (PromptSet.from_tokens, or a file "
            "with a 'tokens' field)"
        )
    if bos not in BOS_POLICIES:
        raise PromptError(f"bos must be one of {', '.join(map(repr, BOS_POLICIES))}, got {bos!r}")
    if bos == "always" and tokenizer.bos_token_id is None:
        raise PromptError("bos='always', but this tokenizer has no BOS token; use bos='auto'")


def _is_control(tokens: np.ndarray, control: np.ndarray) -> np.ndarray:
    return control[np.minimum(tokens, len(control) - 1)]


def _control_table(tokenizer: Any) -> np.ndarray:
    """For each id up to the largest control id and one more, whether it is a control token."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    ids = {i for i, token in added.items() if getattr(token, "special", False)} | set(tokenizer.all_special_ids)
    roles = {k: v for k, v in tokenizer.special_tokens_map.items() if k != "pad_token"}
    named = {str(v) for value in roles.values() for v in (value if isinstance(value, list | tuple) else [value])}
    if tokenizer.pad_token is not None and str(tokenizer.pad_token) not in named:
        ids.discard(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id not in (
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    ):
        ids.discard(tokenizer.unk_token_id)
    table = np.zeros(max(ids, default=0) + 2, dtype=bool)
    table[sorted(ids)] = True
    return table


@dataclass(frozen=True, eq=False)
class _Core:
    """The tokens that the text itself gives."""

    tokens: np.ndarray
    offsets: np.ndarray | None


def _encode_plain(texts: Sequence[str], tokenizer: Any) -> list[_Core]:
    fast = bool(getattr(tokenizer, "is_fast", False))
    out: list[_Core] = []
    for first in range(0, len(texts), _CHUNK):
        result = _call(tokenizer, texts[first : first + _CHUNK], add_special_tokens=False, return_offsets_mapping=fast)
        offsets = result["offset_mapping"] if fast else [None] * len(result["input_ids"])
        out += [_core(ids, at) for ids, at in zip(result["input_ids"], offsets, strict=True)]
    return out


def _split(texts: Sequence[str], tokenizer: Any, offsets: bool) -> list[tuple[_Core, np.ndarray, np.ndarray]]:
    """For each text: its own tokens, and those that the tokenizer adds before and behind them."""
    fast = bool(getattr(tokenizer, "is_fast", False))
    out = []
    for first in range(0, len(texts), _CHUNK):
        part = texts[first : first + _CHUNK]
        if fast:
            full = _call(tokenizer, part, return_offsets_mapping=offsets, return_special_tokens_mask=True)
            ranges = full["offset_mapping"] if offsets else [None] * len(part)
            rows = zip(full["input_ids"], ranges, full["special_tokens_mask"], strict=True)
            out += [_split_by_mask(_core(ids, at), np.array(mask, dtype=bool)) for ids, at, mask in rows]
        else:
            full = _call(tokenizer, part)
            bare = _call(tokenizer, part, add_special_tokens=False)
            both = zip(part, full["input_ids"], bare["input_ids"], strict=True)
            out += [_split_by_search(text, np.array(a, np.int64), np.array(b, np.int64)) for text, a, b in both]
    return out


def _call(tokenizer: Any, texts: Sequence[str], **options: Any) -> Any:
    return tokenizer(
        list(texts),
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
        **options,
    )


def _core(ids: Sequence[int], offsets: Any) -> _Core:
    at = None if offsets is None else np.array(offsets, dtype=np.int64).reshape(-1, 2)
    return _Core(np.array(ids, dtype=np.int64), at)


def _split_by_mask(full: _Core, added: np.ndarray) -> tuple[_Core, np.ndarray, np.ndarray]:
    own = np.flatnonzero(~added)
    lead, stop = (int(own[0]), int(own[-1]) + 1) if len(own) else (len(added), len(added))
    offsets = None if full.offsets is None else full.offsets[lead:stop]
    return _Core(full.tokens[lead:stop], offsets), full.tokens[:lead], full.tokens[stop:]


def _split_by_search(text: str, full: np.ndarray, bare: np.ndarray) -> tuple[_Core, np.ndarray, np.ndarray]:
    for lead in range(len(full) - len(bare) + 1):
        if np.array_equal(full[lead : lead + len(bare)], bare):
            return _Core(bare, None), full[:lead], full[lead + len(bare) :]
    raise PromptError(
        f"this tokenizer changes {text[:40]!r} when it adds special tokens, so that they cannot be told from the text; "
        "encode it yourself and use PromptSet.from_tokens"
    )


def _settle(
    core: _Core, front: np.ndarray, tail: np.ndarray, tokenizer: Any, bos: str, control: np.ndarray, carrier: str
) -> Encoded:
    """Apply the BOS policy to one text: ``front`` and ``tail`` are what the tokenizer adds around ``core``."""
    bos_id = tokenizer.bos_token_id
    adds = bos_id is not None and len(front) > 0 and int(front[0]) == bos_id
    others = front[1:] if adds else front
    carried = bos_id is not None and len(core.tokens) > 0 and int(core.tokens[0]) == bos_id
    cut = 0
    put = np.array([bos_id] if bos_id is not None else [], dtype=np.int64)
    if bos == "never":
        while carried and cut < len(core.tokens) and int(core.tokens[cut]) == bos_id:
            cut += 1
        put, decision = put[:0], "removed" if adds or carried else "none"
    elif carried:
        put, decision = put[:0], carrier
    elif adds:
        decision = "tokenizer"
    elif bos == "always":
        decision = "requested"
    else:
        put, decision = put[:0], "none"
    before = np.concatenate([put, others])
    tokens = np.concatenate([before, core.tokens[cut:], tail])
    special = _is_control(tokens, control)
    special[: len(before)] = True
    special[len(tokens) - len(tail) :] = True
    offsets = None
    if core.offsets is not None:
        offsets = np.concatenate([np.zeros((len(before), 2), int), core.offsets[cut:], np.zeros((len(tail), 2), int)])
    return Encoded(tokens, special, offsets, decision, len(before) - cut)
