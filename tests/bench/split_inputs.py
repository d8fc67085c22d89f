"""EAP and EAP-IG in the split-input layout, as the public EAP-IG code has it on GPT-2: what ours is measured against.

Every head's q, k and v get a copy of the stream of their own, ``[pair, pos, head, d_model]``; activation differences
of all nodes lie in one buffer ``[pair, pos, node, d_model]``; backward hooks contract each target group with it; and
parameters ask for gradients, as they do in a model that is just loaded. Vectorised over heads, as in TransformerLens.
"""

from __future__ import annotations

import torch


class SplitInputs:
    """GPT-2 by blocks, with split inputs and scores collected in the backward pass."""

    def __init__(self, model):
        self.hf, self.s = model.hf, model.sizes
        self.body = model.hf.transformer
        self.per_layer = self.s.n_heads + 1
        self.n_sources = 1 + self.s.n_layers * self.per_layer
        self.n_targets = self.s.n_layers * (3 * self.s.n_heads + 1) + 1

    def embed(self, tokens):
        return self.body.wte(tokens) + self.body.wpe(torch.arange(tokens.shape[1]))

    def forward(self, stream, note=None, catch=None):
        """Logits at the last token; ``note(row, value)`` sees what nodes write, ``catch(columns, x)`` split inputs."""
        s = self.s
        note = note or (lambda *_: None)
        catch = catch or (lambda *_: None)
        note(slice(0, 1), stream[:, :, None])
        for layer, block in enumerate(self.body.h):
            first, column = 1 + layer * self.per_layer, layer * (3 * s.n_heads + 1)
            parts = []
            for i, weight in enumerate(block.attn.c_attn.weight.chunk(3, -1)):
                own = stream[:, :, None].expand(-1, -1, s.n_heads, -1).clone()
                catch(slice(column + i * s.n_heads, column + (i + 1) * s.n_heads), own)
                per_head = weight.unflatten(-1, (s.n_heads, -1))
                bias = block.attn.c_attn.bias.chunk(3)[i].unflatten(-1, (s.n_heads, -1))
                parts.append(torch.einsum("bphm,mhd->bphd", block.ln_1(own), per_head) + bias)
            q, k, v = (x.transpose(1, 2) for x in parts)
            z = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
            result = torch.einsum("bphd,hdm->bphm", z, block.attn.c_proj.weight.unflatten(0, (s.n_heads, -1)))
            note(slice(first, first + s.n_heads), result)
            stream = stream + result.sum(2) + block.attn.c_proj.bias
            own = stream.clone()
            catch(slice(column + 3 * s.n_heads, column + 3 * s.n_heads + 1), own)
            out = block.mlp(block.ln_2(own))
            note(slice(first + s.n_heads, first + s.n_heads + 1), out[:, :, None])
            stream = stream + out
        catch(slice(self.n_targets - 1, self.n_targets), stream)
        return self.hf.lm_head(self.body.ln_f(stream)[:, -1])

    def scores(self, clean, corrupted, metric, steps=1):
        """Scores ``[src, dst]``, a mean over pairs; one step is EAP, more the published EAP-IG."""
        shape = (*clean.shape, self.n_sources, self.s.d_model)
        difference, found = torch.zeros(shape), torch.zeros(self.n_sources, self.n_targets)

        def add(sign):
            def note(rows, value):
                difference[:, :, rows] += sign * value.detach()

            return note

        with torch.no_grad():
            start = self.embed(corrupted)
            self.forward(start, add(-1.0))
            end = self.embed(clean)
            if steps > 1:
                self.forward(end, add(1.0))

        def catch(columns, x):
            def back(gradient):
                g = gradient if gradient.ndim == 4 else gradient[:, :, None]
                found[:, columns] += torch.einsum("bpsm,bptm->st", difference, g)

            x.register_hook(back)

        def run(stream, note=None):
            metric(self.forward(stream, note, catch)).sum().backward()
            self.hf.zero_grad()

        if steps == 1:
            # The differences are complete only when the forward pass is, and the hooks run in the backward pass.
            run(end.requires_grad_(), add(1.0))
        for k in range(1, steps + 1) if steps > 1 else ():
            run((start + k / steps * (end - start)).requires_grad_())
        return found / (len(clean) * steps)
