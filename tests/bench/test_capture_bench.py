"""The benchmark itself: its peers give the same rows, a peer that does not is caught, and ratios are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from interp.bench.capture import _measure, bench_capture
from interp.bench.limits import sorted_batches, truncated
from interp.bench.memory import PeakSampler, flat, peak_growth
from interp.bench.peers import PEERS
from interp.bench.question import Peer, Question
from interp.bench.targets import target_rows
from interp.bench.timing import Cost, cost_of, paired_ratio
from interp.bench.workloads import PREFIX_TOKENS, benchmark_sites, ragged_prompts, workload_prompts
from interp.errors import BenchError
from interp.models import Model

VOCAB = 211


@pytest.fixture(scope="module", params=["neox", "gpt2"])
def model(request) -> Model:
    torch.manual_seed(0)
    if request.param == "gpt2":
        config = GPT2Config(n_layer=6, n_embd=32, n_head=4, vocab_size=VOCAB, bos_token_id=0, eos_token_id=0)
        return Model.wrap(GPT2LMHeadModel(config).eval())
    config = GPTNeoXConfig(
        num_hidden_layers=6, hidden_size=32, num_attention_heads=4, intermediate_size=64, vocab_size=VOCAB
    )
    return Model.wrap(GPTNeoXForCausalLM(config).eval())


def question(model: Model, workload: str = "A", at: str = "all", n: int = 20) -> Question:
    prompts = ragged_prompts(n, VOCAB, shared_prefix=PREFIX_TOKENS if workload == "B" else 0)
    return Question(model, prompts, benchmark_sites(model), at, workload)


@pytest.mark.parametrize("workload", ["A", "B"])
@pytest.mark.parametrize("at", ["all", "last"])
def test_every_peer_gives_the_same_rows(model, workload, at):
    asked = question(model, workload, at)
    peers = [p for p in PEERS if p.fits(asked, everywhere=True)]
    ours = peers[0].run(asked)
    assert ours is not None
    silent = 0
    for peer in peers:
        rows = peer.run(asked)
        if rows is None:
            silent += 1
        else:
            assert all(rows[site].dtype == torch.float16 and len(rows[site]) == asked.n_rows for site in asked.sites)
            asked.difference(ours, rows, peer.name)
    assert 0 < silent < 4  # the limits


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")  # sae-lens, of its own rows
@pytest.mark.parametrize("workload", ["A", "B"])
@pytest.mark.parametrize("at", ["all", "last"])
def test_the_peers_that_are_not_shipped_give_the_same_rows(model, workload, at):
    pytest.importorskip("nnsight", reason="`make bench` installs it")
    pytest.importorskip("sae_lens", reason="`make bench` installs it")
    from interp.bench.memory import find_peers

    asked = question(model, workload, at)
    peers = find_peers(str(Path(__file__).parent / "capture_peers.py"))
    extra = [p for p in peers if p.name not in {q.name for q in PEERS} and p.fits(asked, everywhere=True)]
    assert {p.name.split(",")[0] for p in extra} == {"plain forward hooks", "nnsight", "sae-lens"}
    ours = PEERS[0].run(asked)
    for peer in extra:
        rows = peer.run(asked)
        if peer.compare:
            asked.difference(ours, rows, peer.name)
        else:  # one stream: as many rows, less the part that fills no row of its own
            assert all(0 < len(rows[site]) <= asked.n_rows for site in asked.sites)


@pytest.mark.parametrize("at", ["all", "last"])
def test_rows_come_back_in_the_order_of_the_prompts(model, at):
    # Tokens stand for activations, so that the right answer is known without any model.
    asked = question(model, at=at)

    def run(ids, lengths):
        return dict.fromkeys(asked.sites, ids[..., None].float())

    rows = asked.collect(sorted_batches(asked), run)
    tokens = asked.prompts.tokens
    expected = np.concatenate(tokens) if at == "all" else np.array([t[-1] for t in tokens])
    assert rows[asked.sites[0]][:, 0].tolist() == expected.tolist()


def test_a_peer_that_gives_other_rows_is_caught(model):
    asked = question(model)
    honest = PEERS[0]

    def swapped(q):
        rows = honest.run(q)
        return {site: values[:].flip(0) for site, values in rows.items()}

    def fewer(q):
        return {site: values[1:] for site, values in honest.run(q).items()}

    for run, message in ((swapped, "differs from us"), (fewer, "rows at")):
        with pytest.raises(BenchError, match=message):
            _measure(asked, [honest, Peer("liar", run, "", "")], 1, lambda _: None)


def test_the_limit_runs_the_needed_layers_on_the_same_weights(model):
    asked = question(model)
    body = truncated(asked)
    blocks = body.get_submodule(model.parts["blocks"].name.partition(".")[2])
    assert len(blocks) == asked.last_layer + 1 == 4
    assert len(model.module(model.parts["blocks"].name)) == 6
    ours = {p.data_ptr() for p in model.hf.parameters()}
    assert {p.data_ptr() for p in body.parameters()} < ours
    ids = torch.tensor([[3, 5, 7]])
    with torch.no_grad():
        hidden = model.hf(ids, output_hidden_states=True).hidden_states[asked.last_layer + 1]
        assert torch.allclose(body(ids).last_hidden_state, hidden, atol=1e-5)


def test_workloads_are_what_they_say():
    a, b = workload_prompts("A", 500, VOCAB), workload_prompts("B", 500, VOCAB)
    assert a.hash == workload_prompts("A", 500, VOCAB).hash != b.hash
    assert 36 <= np.median(a.lengths) <= 44
    assert a.lengths.max() <= 256
    assert len({tuple(t[:PREFIX_TOKENS]) for t in b.tokens}) == 1
    assert all(np.array_equal(x, y[PREFIX_TOKENS:]) for x, y in zip(a.tokens, b.tokens, strict=True))


def test_processor_seconds_count_every_thread():
    matrix = torch.randn(600, 600)

    def work():
        for _ in range(20):
            matrix @ matrix

    cost = cost_of(work)
    assert cost.cpu > 0.001
    assert cost.wall > 0
    ours, theirs = [Cost(1, 2), Cost(9, 9), Cost(3, 1)], [Cost(4, 2), Cost(9, 3), Cost(4, 4)]
    assert paired_ratio(ours, theirs, "wall") == 0.75
    assert paired_ratio(ours, theirs, "cpu") == 1


def test_peak_sampler_sees_memory_that_is_gone_at_the_end():
    with PeakSampler() as sampler:
        block = np.ones(64 * 2**20, dtype=np.uint8)
        sampler._stop.wait(0.05)
        del block
    assert 60 < sampler.growth < 120


def test_memory_of_a_peer_and_flatness(model):
    asked = question(model, at="last")
    keep = np.zeros(0)

    def hungry(q):
        nonlocal keep
        if len(q.prompts) > 2:
            keep = np.ones(48 * 2**20, dtype=np.uint8)
        return PEERS[0].run(q)

    assert peak_growth(asked, Peer("hungry", hungry, "", "")) > 40
    found = flat(asked)
    assert list(found) == ["50", "100", "200"]
    assert abs(found["200"] - found["50"]) < 8


def test_targets_say_what_was_not_measured():
    rows = [
        {"workload": "A", "at": "all", "peer": "limit: forward only", "cpu_ratio": 1.04},
        {"workload": "A", "at": "all", "peer": "TransformerLens, names_filter", "cpu_ratio": 0.2},
    ]
    meta = {"peak_mib": {"A, all": {"interp": 5.0, "TransformerLens, names_filter": 100.0}}}
    meta |= {"flat_mib": {"50": 1.0, "200": 40.0}, "startup_s": {"import interp": 0.1, "interp --help": 2.0}}
    met = {(r["measure"], r["where"]): r["met"] for r in target_rows(rows, meta)}
    assert met["CPU cost vs the limit", "A, all"] is True
    assert met["CPU cost vs names_filter", "A, all"] is False
    assert met["CPU cost vs the limit", "A, last"] is None
    assert met["growth from batch 50 to 200, MiB", "A, last"] is False
    assert met["interp --help, s", ""] is False
    assert met["peak memory growth vs names_filter", "A, all"] is True
    assert met["peak memory growth vs names_filter", "A, last"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "gpt5"}, "no benchmark model 'gpt5'"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"only": ["pyvene"]}, "no peer 'pyvene'"),
        ({"workloads": ["C"]}, "no workload 'C'"),
        ({"n_prompts": 1}, "at least two prompts"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(BenchError, match=message):
        bench_capture(**arguments)
