"""Edge attribution beside the split-input layout, exact patching beside one run per edge, and what intervals cost.

OMP_NUM_THREADS=1 python -m tests.bench.edges eap --steps 1     # and --steps 5; GPT-2-small's shape, random weights
OMP_NUM_THREADS=1 python -m tests.bench.edges memory --steps 1  # and --steps 5
OMP_NUM_THREADS=1 python -m tests.bench.edges interval          # 200 replicates beside none
OMP_NUM_THREADS=1 python -m tests.bench.edges exact             # stories260K's shape, random weights
OMP_NUM_THREADS=2 python -m tests.bench.edges hundred           # 100 pairs, EAP, GPT-2-small's shape

Times are CPU seconds of the process, in rounds with the order rotated; ratios are paired within a round. ``frozen`` is
the split layout with parameters that ask for no gradient: the fair control. Memory is that of a process per layout:
how far its resident memory rises, and the largest sum of tensors alive.
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
from tests.circuits.live_bytes import LiveBytes


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


LAYOUTS = ("split", "frozen", "ours")


def scores_of(layout: str, model: Model, pairs: Pairs, a: argparse.Namespace) -> torch.Tensor:
    """Scores of all edges in one of the layouts."""
    if layout.startswith("ours"):
        method = {"method": "eap"} if a.steps == 1 else {"method": "eap-ig", "steps": a.steps, "rule": "right"}
        limit = None if a.bytes is None else a.bytes << 20
        replicates = 200 if layout == "ours+ci" else 0
        found = attribute(model, pairs, gap, replicates=replicates, max_bytes=limit, progress=False, **method)
        return torch.tensor(found.values)
    split, total = SplitInputs(model), 0
    for parameter in model.hf.parameters():
        parameter.requires_grad_(layout == "split")
    for start in range(0, len(pairs), a.batch):
        total = total + split.scores(*rows(pairs, slice(start, start + a.batch)), gap, a.steps)
    for parameter in model.hf.parameters():
        parameter.requires_grad_(True)
    return total / -(-len(pairs) // a.batch)


def rounds(layouts: tuple[str, ...], a: argparse.Namespace) -> None:
    """CPU seconds of each layout, and each layout's ratio to the last one."""
    model, pairs = model_of("gpt2"), made_pairs(a.pairs, a.width, 50257)
    legal = torch.from_numpy(Graph.of(model).legal.copy())
    spent = {name: [] for name in layouts}
    found = {}
    for turn in range(a.rounds):
        for name in layouts[turn % len(layouts) :] + layouts[: turn % len(layouts)]:
            cpu = time.process_time()
            found[name] = scores_of(name, model, pairs, a).double() * legal
            spent[name].append(time.process_time() - cpu)
    last = layouts[-1]
    print(f"{a.steps} step(s), {a.pairs} pairs of {a.width} tokens, {a.rounds} rounds:")
    for name in layouts:
        ratio = sorted(t / own for t, own in zip(spent[name], spent[last], strict=True))
        off = (found[name] - found[layouts[0]]).abs().max() / found[layouts[0]].abs().max()
        print(
            f"  {name:<8} {np.median(spent[name]):6.2f} CPU s; times {last}: {np.median(ratio):.3f} "
            f"({ratio[0]:.3f} to {ratio[-1]:.3f}); differs from {layouts[0]} by {off:.1e}"
        )


def one(a: argparse.Namespace) -> None:
    """The memory of one layout."""
    model, pairs = model_of("gpt2"), made_pairs(a.pairs, a.width, 50257)
    Graph.of(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scores_of(a.layout, model, pairs, a)
    rise = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    for parameter in model.hf.parameters():
        parameter.grad = None
    with LiveBytes() as live:
        scores_of(a.layout, model, pairs, a)
    print(f"{a.layout:<8} resident +{rise:.0f} MiB, tensors {live.peak / 2**20:.0f} MiB", flush=True)


def memory(a: argparse.Namespace) -> None:
    """Of every layout, a process of its own each."""
    print(f"{a.steps} step(s), {a.pairs} pairs of {a.width}, {a.batch} at a time; max_bytes of ours: {a.bytes} MiB")
    for layout in LAYOUTS:
        command = [sys.executable, "-m", "tests.bench.edges", "one", "--layout", layout, "--steps", str(a.steps)]
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
    one_split_pass_per_edge(a, pairs)


def one_split_pass_per_edge(a: argparse.Namespace, pairs: Pairs) -> None:
    """The same sizes as a GPT-2, where the public layout is written out: its pass, without what the patch adds."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=64, n_layer=5, n_head=8, vocab_size=512, n_positions=64)
    model = Model.wrap(transformers.GPT2LMHeadModel(config).eval())
    graph, split, [clean, _] = Graph.of(model), SplitInputs(model), rows(pairs, slice(None))
    exact(model, pairs, gap, edges=["input->logits"], replicates=0)
    ratios = []
    for _ in range(3):
        cpu = time.process_time()
        exact(model, pairs, gap, replicates=0)
        ours = (time.process_time() - cpu) / graph.n_edges
        cpu = time.process_time()
        with torch.no_grad():
            for _ in range(100):
                gap(split.forward(split.embed(clean)))
        ratios.append((time.process_time() - cpu) / 100 / ours)
    middle = sorted(ratios)[1]
    print(
        f"  GPT-2 of that size, {graph.n_edges} edges: exact {1e3 * ours:.2f}; a pass of the split layout {middle:.1f}"
    )
    print(f"  times that, median of three ({min(ratios):.1f} to {max(ratios):.1f})")


def hundred(a: argparse.Namespace) -> None:
    """100 pairs on GPT-2-small's shape."""
    model, pairs = model_of("gpt2"), made_pairs(100, a.width, 50257)
    wall, cpu = time.perf_counter(), time.process_time()
    attribute(model, pairs, method="eap", progress=False)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    print(f"100 pairs of {a.width} tokens, EAP with intervals: {spent[0]:.1f} s, {spent[1]:.1f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["eap", "memory", "interval", "exact", "hundred", "one"])
    parser.add_argument("--layout", default="ours")
    parser.add_argument("--bytes", type=int, help="max_bytes of ours, in MiB")
    for name, value in {"pairs": 16, "width": 15, "steps": 1, "batch": 16, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    if a.what != "one":
        print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}", flush=True)
    run = {"memory": memory, "exact": one_run_per_edge, "hundred": hundred, "one": one}
    run |= {"eap": lambda a: rounds(LAYOUTS, a), "interval": lambda a: rounds(("ours+ci", "ours"), a)}
    run[a.what](a)


if __name__ == "__main__":
    main()
