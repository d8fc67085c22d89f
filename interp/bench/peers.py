"""The peers that are always there: interp, TransformerLens and Hugging Face, written as their users write them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from ..run import capture
from ..sites import Site
from .limits import limit, limit_in_order, limit_plain, sorted_batches
from .question import DTYPE, Peer, Question, Rows, tl_name

OURS = "interp"


def interp_capture(question: Question, **options: Any) -> Rows:
    """`capture` into memory; the rows stay where capture put them, as they would for a user."""
    acts = capture(question.model, question.prompts, question.sites, at=question.at, dtype=DTYPE, **options)
    return {site: acts[site] for site in question.sites}


def interp_to_store(question: Question) -> Rows:
    """`capture` into a store on disk, committed and checksummed, and read back."""
    with tempfile.TemporaryDirectory() as folder:
        rows = interp_capture(question, out=f"{folder}/store", progress=False)
        return {site: rows[site][:] for site in question.sites}


def interp_unshared(question: Question) -> Rows:
    """`capture` with prefix sharing and de-duplication off."""
    return interp_capture(question, share_prefix=False)


def interp_packed(question: Question) -> Rows:
    """`capture` with several prompts per row."""
    return interp_capture(question, pack=True)


def _bridge(question: Question, batches: Iterable[np.ndarray], **options: Any) -> Rows:
    bridge = question.model.bridge

    def run(ids: torch.Tensor, lengths: torch.Tensor) -> Mapping[Site, torch.Tensor]:
        # Right padding: no real token of a causal model sees it, so that no mask is needed.
        with torch.no_grad():
            _, cache = bridge.run_with_cache(ids, **options)
        return {site: cache[tl_name(site)] for site in question.sites}

    return question.collect(batches, run)


def tl_everything(question: Question) -> Rows:
    """``run_with_cache`` as it stands: every activation of the model."""
    return _bridge(question, question.in_order)


def tl_filtered(question: Question) -> Rows:
    """With ``names_filter``."""
    return _bridge(question, question.in_order, names_filter=[tl_name(s) for s in question.sites])


def tl_stopped(question: Question) -> Rows:
    """With ``names_filter`` and ``stop_at_layer``."""
    return _bridge(question, question.in_order, **_stopped(question))


def tl_stopped_sorted(question: Question) -> Rows:
    """The same on our length-sorted token-budget batches: what is left is the price of the run itself."""
    return _bridge(question, sorted_batches(question), **_stopped(question))


def _stopped(question: Question) -> dict[str, Any]:
    return {"names_filter": [tl_name(s) for s in question.sites], "stop_at_layer": question.last_layer + 1}


def hf_hidden_states(question: Question) -> Rows:
    """Hugging Face's ``output_hidden_states=True``."""
    hf = question.model.hf

    def run(ids: torch.Tensor, lengths: torch.Tensor) -> Mapping[Site, torch.Tensor]:
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        with torch.no_grad():
            hidden = hf(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        return {site: hidden[site.layer + 1] for site in question.sites}  # type: ignore[operator]

    return question.collect(question.in_order, run)


_16, _SORTED, _OWN = "16, in order", "length-sorted", "length-sorted, shared"
_EAGER = "eager (the bridge's own)"

PEERS: tuple[Peer, ...] = (
    Peer(OURS, interp_capture, _OWN, "sdpa", core=True, memory=True),
    Peer("interp, no sharing", interp_unshared, _SORTED, "sdpa", core=True, workloads=("B",)),
    Peer("interp, packed", interp_packed, "packed rows", "sdpa", workloads=("A",), ats=("all",)),
    Peer(
        "interp, into a store",
        interp_to_store,
        _OWN,
        "sdpa",
        core=True,
        memory=True,
        ats=("all",),
        note="fsync included",
    ),
    Peer("limit: forward only", limit, _OWN, "sdpa", core=True, note="needed layers, no head, nothing kept"),
    Peer("limit, no sharing", limit_plain, _SORTED, "sdpa", core=True, workloads=("B",)),
    Peer("limit, batches of 16", limit_in_order, _16, "sdpa", note="what padding costs any peer"),
    Peer("TransformerLens, all", tl_everything, _16, _EAGER),
    Peer("TransformerLens, names_filter", tl_filtered, _16, _EAGER, memory=True),
    Peer("TransformerLens, + stop_at_layer", tl_stopped, _16, _EAGER, core=True),
    Peer(
        "TransformerLens, + our batches",
        tl_stopped_sorted,
        _SORTED,
        _EAGER,
        core=True,
        memory=True,
        note="the fair control",
    ),
    Peer("HF output_hidden_states", hf_hidden_states, _16, "sdpa"),
)
