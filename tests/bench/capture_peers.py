"""The whole capture benchmark: with hand-written hooks, nnsight and sae-lens beside the peers that `interp` ships.

    python -m tests.bench.capture_peers --json bench.json          # the published size: hours of work, a quiet machine
    python -m tests.bench.capture_peers --n-prompts 60 --repeats 1 --no-memory

What each peer can and cannot say:

* plain hooks: ``register_forward_hook`` on two blocks, the whole model runs (nothing stops it);
* nnsight 0.8: ``trace`` with ``save`` on the same blocks and ``tracer.stop()``, which ends the pass early;
* sae-lens 6.54: its ``ActivationsStore`` (what ``CacheActivationsRunner`` calls) knows no ragged prompts. Its own way
  is to join all prompts into one stream and cut that into rows of the context size: prompts then see each other, so
  that those rows are other numbers, shown for their cost only. It can be made to give our rows by padding every prompt
  to the longest beforehand and throwing the padding away afterwards: the second row. Both use its multi-hook mode,
  which reads both sites in one pass of ``run_with_cache`` with ``names_filter`` and ``stop_at_layer``; the runner
  itself takes one hook at a time, writes a Hugging Face dataset, and loads its models by name: that needs a network.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interp.bench import bench_capture
from interp.bench.limits import sorted_batches
from interp.bench.peers import PEERS as SHIPPED
from interp.bench.question import DTYPE, USERS_BATCH, Peer, Question, Rows, tl_name
from interp.sites import Site

PAD = 0  # benchmark prompts never hold it


def _block(question: Question, site: Site) -> torch.nn.Module:
    return question.model.module(f"{question.model.parts['blocks'].name}.{site.layer}")


def plain_hooks(question: Question) -> Rows:
    """Two forward hooks on the plain model."""
    found: dict[Site, torch.Tensor] = {}

    def keep(site: Site) -> Any:
        def hook(_module: torch.nn.Module, _args: Any, output: Any) -> None:
            found[site] = (output[0] if isinstance(output, tuple) else output).detach()

        return hook

    def run(ids: torch.Tensor, lengths: torch.Tensor) -> Mapping[Site, torch.Tensor]:
        with torch.no_grad():
            question.model.hf(input_ids=ids, attention_mask=_mask(ids, lengths))
        return found

    handles = [_block(question, site).register_forward_hook(keep(site)) for site in question.sites]
    try:
        return question.collect(question.in_order, run)
    finally:
        for handle in handles:
            handle.remove()


def nnsight_stopped(question: Question) -> Rows:
    """A trace that saves both sites and stops, on batches of 16."""
    return _nnsight(question, question.in_order)


def nnsight_sorted(question: Question) -> Rows:
    """The same on our length-sorted batches."""
    return _nnsight(question, sorted_batches(question))


def _nnsight(question: Question, batches: Iterable[np.ndarray]) -> Rows:
    from nnsight import NNsight

    model = NNsight(question.model.hf)
    first, second = question.sites
    one, two = (model.get(f"{question.model.parts['blocks'].name}.{site.layer}") for site in question.sites)

    def run(ids: torch.Tensor, lengths: torch.Tensor) -> Mapping[Site, torch.Tensor]:
        with torch.no_grad(), model.trace(input_ids=ids, attention_mask=_mask(ids, lengths)) as tracer:
            a = one.output.save()
            b = two.output.save()
            tracer.stop()
        return {first: a, second: b}

    return question.collect(batches, run)


def sae_lens_stream(question: Question) -> Rows:
    """sae-lens' own way: one stream of tokens, cut into rows of 256; the prompts see each other."""
    width = int(question.prompts.lengths.max())
    stream = np.concatenate(question.prompts.tokens)
    cut = [stream[i : i + width] for i in range(0, len(stream) - width + 1, width)]
    kept: dict[Site, list[torch.Tensor]] = {site: [] for site in question.sites}
    for _, found in _sae_lens(question, cut or [stream], width if cut else len(stream)):
        for site in question.sites:
            kept[site].append(found[tl_name(site)].flatten(0, 1).to(DTYPE))
    return {site: torch.cat(parts) for site, parts in kept.items()}


def sae_lens_padded(question: Question) -> Rows:
    """sae-lens on prompts that were padded to the longest beforehand; padding is thrown away afterwards."""
    width = int(question.prompts.lengths.max())
    padded = [np.pad(t, (0, width - len(t)), constant_values=PAD) for t in question.prompts.tokens]
    kept: dict[Site, list[torch.Tensor]] = {site: [] for site in question.sites}
    for ids, found in _sae_lens(question, padded, width):
        lengths = (ids != PAD).sum(1)
        for site in question.sites:
            kept[site].append(question.pick(found[tl_name(site)], lengths).to(DTYPE))
    return {site: torch.cat(parts) for site, parts in kept.items()}


def _sae_lens(
    question: Question, rows: list[np.ndarray], width: int
) -> Iterable[tuple[torch.Tensor, Mapping[str, torch.Tensor]]]:
    from datasets import Dataset
    from sae_lens import ActivationsStore

    names = [tl_name(site) for site in question.sites]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that the data will be read more than once; it will not
        store = ActivationsStore.from_config_multi_hook(
            question.model.bridge,
            dataset=Dataset.from_dict({"tokens": [row.tolist() for row in rows]}),
            hook_names=names,
            hook_d_ins=dict.fromkeys(names, question.model.d_model),
            context_size=width,
            store_batch_size_prompts=USERS_BATCH,
            prepend_bos=False,
        )
    for first in range(0, len(rows), USERS_BATCH):
        ids = store.get_batch_tokens(batch_size=min(USERS_BATCH, len(rows) - first))
        with torch.no_grad():
            yield ids, store.get_multi_hook_activations(ids)


def _mask(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return (torch.arange(ids.shape[1]) < lengths[:, None]).long()


_16, _EAGER = "16, in order", "eager (the bridge's own)"
PEERS: tuple[Peer, ...] = (
    *SHIPPED,
    Peer("plain forward hooks", plain_hooks, _16, "sdpa", note="the whole model runs"),
    Peer("nnsight, stop", nnsight_stopped, _16, "sdpa"),
    Peer("nnsight, stop, our batches", nnsight_sorted, "length-sorted", "sdpa"),
    Peer(
        "sae-lens, its stream",
        sae_lens_stream,
        "16 full rows",
        _EAGER,
        "prompts see each other",
        compare=False,
        ats=("all",),
    ),
    Peer("sae-lens, padded", sae_lens_padded, "16, to the longest", _EAGER, "padded before, cut after"),
)


def main() -> None:
    """Measure, print, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pythia-70m")
    parser.add_argument("--n-prompts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workloads", nargs="+", default=["A", "B"])
    parser.add_argument("--ats", nargs="+", default=["all", "last"])
    parser.add_argument("--only", nargs="+", default=[], help="peers to run; the others are left out")
    parser.add_argument("--everywhere", action="store_true", help="every peer in every part of the table")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", help="write the numbers here")
    a = parser.parse_args()
    costs, targets = bench_capture(
        a.model, n_prompts=a.n_prompts, workloads=a.workloads, ats=a.ats, repeats=a.repeats, everywhere=a.everywhere,
        memory=not a.no_memory, peers_file=str(Path(__file__).resolve()), only=a.only,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(f"{costs.headline}\n\n{costs.table()}\n")
    for warning in costs.warnings:
        print(f"Warning: {warning}")
    print(f"{targets.headline}\n\n{targets.table()}")
    if a.json:
        costs.save(a.json)


if __name__ == "__main__":
    main()
