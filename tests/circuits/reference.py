"""A split-input forward pass, written straight from the architectures' papers: every target reads a copy of its own.

Nothing is taken from the package but the graph's names: the stream is a list of what each node wrote, each target's
input is their sum, and gradients, patches and circuits are done on these inputs one by one. Slow, and meant to be.
"""

from __future__ import annotations

import math

import torch

from interp.circuits.graph import Graph


class Split:
    """GPT-2, Llama and Gemma-2 by nodes and edges. ``patch`` changes what a target reads."""

    def __init__(self, model):
        self.hf, self.s, self.kind = model.hf, model.sizes, model.architecture
        self.graph = Graph.of(model)
        self.gpt = self.kind.startswith("GPT2")
        self.gemma = self.kind.startswith("Gemma2")
        body = self.hf.transformer if self.gpt else self.hf.model
        self.blocks = body.h if self.gpt else body.layers
        self.body = body

    def embed(self, tokens):
        if self.gpt:
            return self.body.wte(tokens) + self.body.wpe(torch.arange(tokens.shape[1]))
        scale = math.sqrt(self.s.d_model) if self.gemma else 1.0
        return self.body.embed_tokens.weight[tokens] * scale

    def run(self, tokens, patch=None):
        """Logits at the last token of equally long rows, what each node wrote, and each target's input."""
        wrote, inputs = {"input": self.embed(tokens)}, {}
        constants = []
        for layer, block in enumerate(self.blocks):

            def read(target, wrote=wrote, constants=constants):
                return self.read(target, wrote, constants, inputs, patch)

            parts = self.heads(layer, block, tokens, read)
            new, constant = self.outputs(block, parts)
            wrote |= {f"a{layer}.h{h}": new[h] for h in range(self.s.n_heads)}
            constants.append(constant)
            wrote[f"m{layer}"] = self.mlp(block, self.read(f"m{layer}", wrote, constants, inputs, patch))
        last = self.read("logits", wrote, constants, inputs, patch)[:, -1]
        norm = self.body.ln_f if self.gpt else self.body.norm
        logits = norm(last) @ self.hf.lm_head.weight.T
        if self.gemma:
            cap = self.hf.config.final_logit_softcapping
            logits = cap * torch.tanh(logits / cap)
        return logits, wrote, inputs

    def read(self, target, wrote, constants, inputs, patch):
        stream = sum(wrote.values()) + sum(constants)
        if patch is not None:
            stream = patch(target, stream, wrote)
        inputs[target] = stream.clone()
        if inputs[target].requires_grad:
            inputs[target].retain_grad()
        return inputs[target]

    def heads(self, layer, block, tokens, read):
        """z of every head, each from a q, k and v that it read by itself."""
        s, kv = self.s, self.s.n_kv_heads
        letter = "h" if kv == s.n_heads else "kv"
        norm = block.ln_1 if self.gpt else block.input_layernorm
        k, v = (
            [self.project(block, part, norm(read(f"a{layer}.{letter}{i}<{part}>")))[..., i, :] for i in range(kv)]
            for part in "kv"
        )
        later = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)
        if self.gemma and self.hf.config.layer_types[layer] == "sliding_attention":
            later = later | ~torch.ones_like(later).triu(1 - self.hf.config.sliding_window)
        found = []
        for h in range(s.n_heads):
            q = self.project(block, "q", norm(read(f"a{layer}.h{h}<q>")))[..., h, :]
            key, value = k[h * kv // s.n_heads], v[h * kv // s.n_heads]
            if not self.gpt:
                q, key = self.rotate(q), self.rotate(key)
            scale = self.hf.config.query_pre_attn_scalar if self.gemma else s.d_head
            scores = q @ key.transpose(1, 2) / math.sqrt(scale)
            if self.gemma:
                cap = self.hf.config.attn_logit_softcapping
                scores = cap * torch.tanh(scores / cap)
            found.append(scores.masked_fill(later, -math.inf).softmax(-1) @ value)
        return found

    def project(self, block, part, x):
        if self.gpt:
            out = block.attn.c_attn(x).chunk(3, -1)["qkv".index(part)]
        else:
            out = getattr(block.self_attn, f"{part}_proj")(x)
        return out.unflatten(-1, (-1, self.s.d_head))

    def rotate(self, x):
        base = self.hf.config.rope_parameters["rope_theta"]
        half = self.s.d_head // 2
        angle = torch.arange(x.shape[1])[:, None] * base ** (-torch.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def outputs(self, block, z):
        """What each head writes, and what attention writes besides."""
        d = self.s.d_head
        if self.gpt:
            weight, bias = block.attn.c_proj.weight, block.attn.c_proj.bias
        else:
            weight, bias = block.self_attn.o_proj.weight.T, torch.zeros(())
        new = [x @ weight[h * d : (h + 1) * d] for h, x in enumerate(z)]
        if self.gemma:
            norm = block.post_attention_layernorm
            root = (sum(new).square().mean(-1, keepdim=True) + norm.eps).sqrt()
            new = [x / root * (1 + norm.weight) for x in new]
        return new, bias

    def mlp(self, block, stream):
        if self.gpt:
            return block.mlp(block.ln_2(stream))
        if self.gemma:
            return block.post_feedforward_layernorm(block.mlp(block.pre_feedforward_layernorm(stream)))
        return block.mlp(block.post_attention_layernorm(stream))


def edge_scores(model, clean, corrupted, metric, alphas=(1.0,), ablated=None):
    """EAP (one alpha, 1) or EAP-IG over inputs: the mean gradient at each target times the difference at each source.

    ``ablated`` gives what nodes write when ablated; by default, what they write on the corrupted prompt.
    """
    split = Split(model)
    graph = split.graph
    with torch.no_grad():
        _, on_clean, _ = split.run(clean)
        _, on_corrupted, _ = split.run(corrupted)
    ablated = on_corrupted if ablated is None else ablated(on_corrupted)
    gradients = {}
    for alpha in alphas:
        start = (ablated["input"] + alpha * (on_clean["input"] - ablated["input"])).requires_grad_()
        keep = split.embed
        split.embed = lambda _, start=start: start
        logits, _, inputs = split.run(clean)
        split.embed = keep
        metric(logits).sum().backward()
        for name, x in inputs.items():
            gradients[name] = gradients.get(name, 0) + x.grad / len(alphas)
    found = torch.zeros(graph.legal.shape)
    for i, source in enumerate(graph.sources):
        for j, target in enumerate(graph.targets):
            if graph.legal[i, j]:
                found[i, j] = ((on_clean[source] - ablated[source]) * gradients[target]).sum() / len(clean)
    return found


def edge_effects(model, clean, corrupted, metric, edges, ablated=None):
    """Loss of the metric when each edge alone is ablated: one run per edge."""
    split = Split(model)
    with torch.no_grad():
        logits, _, _ = split.run(clean)
        _, other, _ = split.run(corrupted)
        other = other if ablated is None else ablated(other)
        before, found = metric(logits), []
        for edge in edges:
            source, target = edge.split("->")

            def patch(name, stream, wrote, source=source, target=target):
                return stream - wrote[source] + other[source] if name == target else stream

            found.append((before - metric(split.run(clean, patch)[0])).mean())
    return torch.stack(found)


def circuit_metric(model, clean, corrupted, metric, mask, ablated=None):
    """The metric with every edge outside the mask ablated."""
    split = Split(model)
    graph = split.graph
    with torch.no_grad():
        _, other, _ = split.run(corrupted)
        other = other if ablated is None else ablated(other)

        def patch(target, stream, wrote):
            for source in wrote:
                if not mask[graph.sources.index(source), graph.targets.index(target)]:
                    stream = stream - wrote[source] + other[source]
            return stream

        return metric(split.run(clean, patch)[0])
