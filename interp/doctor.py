"""``doctor``: does this package read this model right? Checked on the spot, on the model itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .errors import InterpError, PromptTooLongError
from .models import Model
from .models.hooks import hook_count
from .prompts import PromptSet
from .report import Report
from .run import capture, forward, generate
from .run.job import packs_exactly
from .sites import Site

# Largest difference allowed, relative to the largest entry of the tensor, by the model's dtype.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 5e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}


@dataclass(frozen=True)
class Check:
    """Outcome of one check. ``worst`` is the largest relative difference (``None`` where nothing is measured)."""

    name: str
    ok: bool | None
    worst: float | None
    detail: str


def doctor(model: Model, *, seed: int = 0, n_prompts: int = 6, max_length: int = 24) -> Report:
    """Check that sites, padding, batching, caching and generation of this model are read right.

    Runs a few short random prompts of different lengths. Differences are relative to the largest entry of what is
    compared; the tolerance depends on the model's dtype.

    Returns:
        A `Report` of kind ``doctor``: one row per check, with ``ok`` (``None`` for 'does not apply'), ``worst`` and
        ``detail``. ``report.meta["ok"]`` says whether everything passed.

    Example:
        >>> import interp
        >>> report = interp.doctor(interp.load_model(interp.testbeds.path("induction")))
        >>> report.meta["ok"]
        True
    """
    limit = min(max_length, model.n_ctx or max_length)
    if limit < 8:
        raise PromptTooLongError(f"doctor needs a context of at least 8 tokens, this model has {limit}")
    prompts = _prompts(model, seed, n_prompts, limit)
    patient = _Patient(model, prompts, TOLERANCE.get(model.dtype, 6e-2))
    hooks, before = hook_count(model.hf), model.fingerprint
    checks = [_guarded(name, check) for name, check in patient.checks()]
    clean = hook_count(model.hf) == hooks and model.fingerprint == before
    detail = "hooks and weights as they were" if clean else "hooks or weights were left changed"
    checks.append(Check("hooks are removed", clean, None, detail))
    return _report(model, prompts, checks, patient.tolerance, seed)


def _report(model: Model, prompts: PromptSet, checks: list[Check], tolerance: float, seed: int) -> Report:
    failed = [c.name for c in checks if c.ok is False]
    passed = sum(c.ok is True for c in checks)
    verdict = (
        f"fails {len(failed)} of {passed + len(failed)} checks: {', '.join(failed)}"
        if failed
        else f"passes all {passed} checks"
    )
    rows = [
        {
            "check": c.name,
            "ok": c.ok,
            "worst": c.worst,
            "tolerance": None if c.worst is None else tolerance,
            "detail": c.detail,
        }
        for c in checks
    ]
    return Report(
        kind="doctor",
        title=f"Doctor: {model.id}",
        headline=f"{model.architecture} {verdict}.",
        rows=rows,
        provenance=model.provenance(prompts=prompts.hash, seed=seed),
        meta={"ok": not failed, "sites": [str(s) for s in model.sites()], "model": repr(model)},
    )


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """An error inside a check is a failed check, not the end of the examination."""
    try:
        return check()
    except (InterpError, RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as error:
        return Check(name, False, None, f"{type(error).__name__}: {str(error).splitlines()[0][:160]}")


def _prompts(model: Model, seed: int, n: int, limit: int) -> PromptSet:
    rng = np.random.default_rng(seed)
    special = set(getattr(model.tokenizer, "all_special_ids", None) or [])
    words = np.array([t for t in range(model.sizes.d_vocab) if t not in special][: 1 << 16])
    header = rng.choice(words, 5)
    lengths = np.linspace(4, limit - 4, n).round().astype(int)
    tokens = [
        np.concatenate([header[:3], rng.choice(words, k - 3)]) if i % 2 else rng.choice(words, k)
        for i, k in enumerate(lengths)
    ]
    return PromptSet.from_tokens([t.tolist() for t in tokens])


class _Patient:
    """The checks on one model; each yields a `Check`."""

    def __init__(self, model: Model, prompts: PromptSet, tolerance: float) -> None:
        self.model, self.prompts, self.tolerance = model, prompts, tolerance
        self.posts = model.sites("resid_post")
        # transformers leaves hooks of its own on a model once hidden states were asked for; so that comes first.
        self.reference = self._hf()
        self.plain = self._rows(self.posts, share_prefix=False, batch_tokens=1)

    def checks(self) -> Iterator[tuple[str, Callable[[], Check]]]:
        yield "matches Hugging Face", self.hugging_face
        yield "logits match Hugging Face", self.logits
        yield "right padding changes nothing", lambda: self._same("right padding changes nothing", share_prefix=False)
        yield "left padding changes nothing", lambda: self._same("left padding changes nothing", padding_side="left")
        yield "batch-mates change nothing", self.batch_mates
        yield "shared prefixes change nothing", self.shared
        yield "packing", self.packing
        yield "residual stream adds up", self.decomposition
        yield "attention pattern times values", self.pattern
        yield "generation: cache on == off", self.generation
        yield "TransformerLens bridge agrees", self.bridge

    def _rows(self, sites: tuple[Site, ...], **options: object) -> dict[Site, torch.Tensor]:
        acts = capture(self.model, self.prompts, sites, dtype=torch.float32, progress=False, **options)  # type: ignore[arg-type]
        return {s: acts[s].tensor() for s in sites}

    def _check(self, name: str, pairs: list[tuple[str, torch.Tensor, torch.Tensor]], detail: str = "") -> Check:
        """Compare pairs of tensors; the worst relative difference decides, and its place is named."""
        worst, where = 0.0, ""
        for label, a, b in pairs:
            size = float(b.abs().max()) or 1.0
            difference = float((a.float() - b.float()).abs().max()) / size
            if not difference <= worst:
                worst, where = difference, label
        return Check(name, worst <= self.tolerance, worst, detail or ("exact" if worst == 0 else f"worst at {where}"))

    def _hf(self) -> list[object]:
        device = self.model.device
        with torch.inference_mode():
            return [
                self.model.hf(torch.tensor(t)[None].to(device), output_hidden_states=True, use_cache=False)
                for t in self.prompts.tokens
            ]

    def hugging_face(self) -> Check:
        """Every layer but the last against HF's hidden states, whose last entry is after the final norm."""
        outputs = self.reference
        pairs = []
        for site in self.posts[:-1]:
            reference = torch.cat([o.hidden_states[site.layer + 1][0] for o in outputs]).cpu()  # type: ignore[attr-defined,operator]
            pairs.append((str(site), self.plain[site], reference))
        if not pairs:
            return Check("matches Hugging Face", None, None, "one layer only: see the logits")
        return self._check("matches Hugging Face", pairs)

    def logits(self) -> Check:
        reference = torch.stack([o.logits[0, -1] for o in self.reference]).cpu()  # type: ignore[attr-defined]
        ours = forward(self.model, self.prompts, progress=False).logits
        return self._check("logits match Hugging Face", [("logits", ours, reference)])

    def _same(self, name: str, **options: object) -> Check:
        rows = self._rows(self.posts, **options)
        return self._check(name, [(str(s), rows[s], self.plain[s]) for s in self.posts])

    def batch_mates(self) -> Check:
        """A prompt alone against the same prompt among others, in another order."""
        order = np.random.default_rng(1).permutation(len(self.prompts))
        mixed = capture(
            self.model, self.prompts.select(order), self.posts, at="last", dtype=torch.float32, progress=False
        )
        ends = np.cumsum([len(t) for t in self.prompts.tokens]) - 1
        pairs = [(str(s), mixed[s].tensor(), self.plain[s][ends[order]]) for s in self.posts]
        return self._check("batch-mates change nothing", pairs)

    def shared(self) -> Check:
        """Prompts with a common header, its keys and values computed once and twice."""
        header = self.prompts.tokens[-1][: max(2, len(self.prompts.tokens[-1]) // 2)].tolist()
        tails = [t.tolist()[: max(1, len(header) // 2)] for t in self.prompts.tokens]
        prompts = PromptSet.from_tokens([header + t for t in tails])
        once, twice = (
            capture(self.model, prompts, self.posts, share_prefix=share, dtype=torch.float32, progress=False)
            for share in (True, False)
        )
        pairs = [(str(s), once[s].tensor(), twice[s].tensor()) for s in self.posts]
        return self._check("shared prefixes change nothing", pairs)

    def packing(self) -> Check:
        exact = packs_exactly(self.model)
        detail = (
            "packed prompts are kept apart" if exact else "this architecture mixes packed prompts; pack= will refuse"
        )
        return Check("packing", True if exact else None, None, detail)

    def decomposition(self) -> Check:
        """resid_pre + attn_out + mlp_out == resid_post, and through resid_mid where it exists."""
        kinds = {s.kind for s in self.model.sites()}
        wanted = ("resid_pre", "attn_out", "mlp_out", "resid_post")
        if not kinds.issuperset(wanted):
            return Check("residual stream adds up", None, None, "some part of the sum has no site here")
        rows = self._rows(self.model.sites(wanted))
        pairs = []
        for layer in range(self.model.n_layers):
            pre, attn, mlp, post = (rows[Site(k, layer)] for k in wanted)
            pairs.append((f"layer {layer}", pre + attn + mlp, post))
        return self._check("residual stream adds up", pairs)

    def pattern(self) -> Check:
        kinds = {s.kind for s in self.model.sites()}
        if not kinds.issuperset(("pattern", "v", "z")):
            return Check("attention pattern times values", None, None, "attention probabilities have no site here")
        sizes = self.model.sizes
        rows = self._rows(self.model.sites(("pattern", "v", "z")))
        longest = max(len(t) for t in self.prompts.tokens)
        pairs = []
        for layer in range(self.model.n_layers):
            start = 0
            for tokens in self.prompts.tokens:
                n = len(tokens)
                part = slice(start, start + n)
                weights = rows[Site("pattern", layer)][part].view(n, sizes.n_heads, longest)[:, :, :n]
                values = rows[Site("v", layer)][part].view(n, sizes.n_kv_heads, sizes.d_head)
                values = values.repeat_interleave(sizes.n_heads // sizes.n_kv_heads, dim=1)
                z = torch.einsum("qhk,khd->qhd", weights, values).reshape(n, -1)
                pairs.append((f"layer {layer}", z, rows[Site("z", layer)][part]))
                start += n
        return self._check("attention pattern times values", pairs)

    def generation(self) -> Check:
        new = min(8, (self.model.n_ctx or 1024) - max(len(t) for t in self.prompts.tokens))
        if new < 1:
            return Check("generation: cache on == off", None, None, "no room in the context")
        on, off = (generate(self.model, self.prompts, new, use_cache=c, progress=False) for c in (True, False))
        same = sum(np.array_equal(a, b) for a, b in zip(on.tokens, off.tokens, strict=True))
        return Check("generation: cache on == off", same == len(on), None, f"{same} of {len(on)} continuations equal")

    def bridge(self) -> Check:
        tokens = torch.tensor(self.prompts.tokens[-1])[None].to(self.model.device)
        with torch.inference_mode():
            theirs = self.model.bridge(tokens)
            ours = self.model.hf(tokens, use_cache=False).logits
        return self._check("TransformerLens bridge agrees", [("logits", theirs.cpu(), ours.cpu())])
