"""Edge attribution beside the split-input layout, exact patching beside one run per edge, and what intervals cost.

OMP_NUM_THREADS=1 python -m tests.bench.edges eap [--pairs 48] [--steps 5]   # GPT-2-small's shape, random weights
OMP_NUM_THREADS=1 python -m tests.bench.edges exact                          # stories260K's shape, random weights
OMP_NUM_THREADS=2 python -m tests.bench.edges hundred                        # 100 pairs, EAP, GPT-2-small's shape

CPU seconds of the process, and how far its resident memory rises, each layout in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

import numpy as np
import torch
import transformers

from interp.circuits import Graph, Pairs, attribute, exact
from interp.circuits.batches import pair_batches
from interp.models import Model
from interp.run.tape import Tape
from tests.bench.split_inputs import SplitInputs


def gap(logits, _=None):
    """The metric of both layouts."""
    return logits[:, 5] - logits[:, 7]


def model_of(name: str) -> Model:
    """A model of that shape with random weights."""
    torch.manual_seed(0)
    if name == "gpt2":
        return Model.wrap(transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval())
    shape = {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5, "vocab_size": 512}
    config = transformers.LlamaConfig(**shape, num_attention_heads=8, num_key_value_heads=4)
    return Model.wrap(transformers.LlamaForCausalLM(config).eval())


def made_pairs(n: int, width: int, vocab: int) -> Pairs:
    """Random tokens; two of them differ."""
    rng = np.random.default_rng(0)
    clean = rng.integers(8, vocab, (n, width))
    corrupted = clean.copy()
    corrupted[:, [3, 7]] = rng.integers(8, vocab, (n, 2))
    return Pairs.from_tokens(clean.tolist(), corrupted.tolist(), answers=[[5]] * n, wrong=[[7]] * n)


def rows(pairs: Pairs, which: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and corrupted tokens."""
    return tuple(torch.tensor(np.stack(p.tokens[which])) for p in (pairs.clean, pairs.corrupted))


def one(a: argparse.Namespace) -> None:
    """One layout, once; prints CPU seconds, wall seconds and the rise of memory."""
    model, pairs = model_of("gpt2"), made_pairs(a.pairs, a.width, 50257)
    Graph.of(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    if a.layout == "split":
        split = SplitInputs(model)
        for start in range(0, a.pairs, a.batch):
            split.scores(*rows(pairs, slice(start, start + a.batch)), gap, a.steps)
    else:
        method = {"method": "eap"} if a.steps == 1 else {"method": "eap-ig", "steps": a.steps, "rule": "right"}
        replicates = 200 if a.layout == "ours+ci" else 0
        limit = None if a.bytes is None else a.bytes << 20
        attribute(model, pairs, gap, replicates=replicates, max_bytes=limit, **method)
    spent = time.process_time() - cpu, time.perf_counter() - wall
    rise = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{a.layout:<8} {a.steps} step(s), {a.pairs} pairs: {spent[0]:6.1f} CPU s, {spent[1]:6.1f} s, +{rise:.0f} MB")


def eap(a: argparse.Namespace) -> None:
    """Both layouts and the interval, one after the other."""
    for steps in (1, a.steps):
        for layout in ("split", "ours", "ours+ci"):
            command = [sys.executable, "-m", "tests.bench.edges", "one", "--layout", layout, "--steps", str(steps)]
            more = ["--bytes", str(a.bytes)] if a.bytes else []
            subprocess.run([*command, "--pairs", str(a.pairs), "--batch", str(a.batch), *more], check=True)


def one_run_per_edge(a: argparse.Namespace) -> None:
    """Every edge of a small model at once, and a sample of them one whole forward pass each."""
    model, pairs = model_of("stories"), made_pairs(a.pairs, a.width, 512)
    graph = Graph.of(model)
    exact(model, pairs, gap, edges=["input->logits"], replicates=0)
    cpu = time.process_time()
    exact(model, pairs, gap, replicates=0)
    ours = (time.process_time() - cpu) / graph.n_edges
    [batch] = pair_batches(pairs, a.pairs)
    rng = np.random.default_rng(0)
    places = np.argwhere(graph.legal)
    sample = places[rng.choice(len(places), 200, replace=False)].tolist()
    cpu = time.process_time()
    for _, target in sample:
        # The simplest way: a whole pass, in which one target's input is changed.
        layer, part, _ = graph.part_of(target)
        site = {"logits": "resid_post.4", "mlp": f"mlp_out.{layer}"}.get(part, f"{part}.{layer}")
        with Tape(model, writes=[(model.resolve(site), lambda x: x + 1e-3)]) as tape:
            gap(tape.play(batch.clean).logits)
    each = (time.process_time() - cpu) / len(sample)
    cpu = time.process_time()
    with torch.no_grad():
        for _ in sample:
            model.hf(batch.clean.input_ids, use_cache=False, logits_to_keep=1)
    bare = (time.process_time() - cpu) / len(sample)
    print(f"{graph.n_edges} edges, {a.pairs} pairs of {a.width} tokens, milliseconds of CPU per edge:")
    print(f"  exact {1e3 * ours:.2f}; one pass per edge {1e3 * each:.2f} ({each / ours:.1f} times)")
    print(f"  a pass without any hook {1e3 * bare:.2f} ({bare / ours:.1f} times)")


def hundred(a: argparse.Namespace) -> None:
    """100 pairs on GPT-2-small's shape."""
    model, pairs = model_of("gpt2"), made_pairs(100, a.width, 50257)
    wall = time.perf_counter()
    attribute(model, pairs, method="eap")
    print(f"100 pairs of {a.width} tokens, EAP with intervals: {time.perf_counter() - wall:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["eap", "exact", "hundred", "one"])
    parser.add_argument("--layout", default="ours")
    parser.add_argument("--bytes", type=int, help="max_bytes of ours, in MiB")
    for name, value in {"pairs": 16, "width": 15, "steps": 5, "batch": 16}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}", flush=True)
    {"eap": eap, "exact": one_run_per_edge, "hundred": hundred, "one": one}[a.what](a)


if __name__ == "__main__":
    main()
