"""``grads``: gradients of a metric with respect to activations, with the activations beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float

from ..edits import Edit
from ..errors import ActivationError, PromptError
from ..models import Model
from ..models.hooks import Hooks
from ..models.resolve import Tap
from ..prompts import PromptSet
from ..sites import Site
from ..store import Activations, Examples
from .budget import check_memory
from .buffers import Buffers
from .job import Job, SiteSpec, make_job
from .passes import Pass, passes
from .progress import Progress
from .where import AtSpec, mark_positions

# logits [batch, vocab] at the metric's token, and each row's example number -> one number per row.
Metric = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Gradients:
    """``grads`` and ``values`` have the same rows; ``metric`` holds one number per example."""

    grads: Activations
    values: Activations
    metric: Float[torch.Tensor, " example"]


def grads(
    model: Model,
    prompts: PromptSet,
    sites: SiteSpec,
    metric: Metric,
    *,
    at: AtSpec = "all",
    metric_at: str = "last",
    edits: Sequence[Edit] = (),
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Gradients:
    """The gradient d metric / d activation at every site, one backward pass per batch; parameters get no gradient.

    Args:
        metric: from logits ``[batch, vocab]`` at the token ``metric_at`` and the example numbers ``[batch]`` to
            ``[batch]``.

    Raises:
        PromptError: the metric returns another shape.
        ActivationError: the metric does not depend on a site (it is a constant, or the site is after it).

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]])
        >>> result = interp.grads(model, prompts, "resid_post.1", lambda logits, example: logits[:, 9])
        >>> result.grads["resid_post.1"].shape == result.values["resid_post.1"].shape
        True
    """
    job = make_job(model, prompts, sites, at, edits, batch_tokens, False, False, "right")
    if any(s.kind in ("logits", "pattern") for s in job.sites):
        raise PromptError(
            "gradients are taken at activations: 'logits' is the metric's input, and 'pattern' is not supported"
        )
    mark_positions(prompts, metric_at)
    needed = 2 * 4 * len(job.index) * job.row_width
    check_memory(needed, f"{len(job.index):,} rows of {len(job.sites)} sites", advice="ask for fewer sites or tokens")
    run = _GradientRun(job, metric, metric_at)
    todo = passes(prompts.tokens, job.index.example, job.index.position, job.schedule)
    with Progress(job.n_tokens, "tok", "gradients", progress) as bar, run:
        for one in todo:
            run.step(one)
            bar.advance(one.real_tokens)
    for buffers in (run.grads, run.values):
        buffers.flush()
        buffers.check_finite(prompts, job.index)
    if run.edits is not None:
        run.edits.check()
    provenance = model.provenance(prompts=prompts.hash)
    examples = Examples.of(prompts)
    both = [Activations.from_tensors(b.values, job.index, provenance, examples) for b in (run.grads, run.values)]
    return Gradients(both[0], both[1], run.metric)


class _GradientRun:
    """Forward and backward over passes; each site's tensor is cut into the graph by a write."""

    def __init__(self, job: Job, metric: Metric, metric_at: str) -> None:
        self.job, self._metric = job, metric
        self._at = torch.from_numpy(mark_positions(job.prompts, metric_at).astype("int64"))
        self.grads = Buffers(job.widths, len(job.index), torch.float32)
        self.values = Buffers(job.widths, len(job.index), torch.float32)
        self.metric = torch.zeros(len(job.prompts))
        self.edits = job.edit_run()
        self._seen: dict[Site, torch.Tensor] = {}
        taps = [job.model.resolve(s) for s in job.sites]
        cuts = [(tap, partial(self._cut, tap)) for tap in taps]
        self._hooks = Hooks(job.model, writes=[*(self.edits.writes() if self.edits else ()), *cuts])

    def __enter__(self) -> _GradientRun:
        self._hooks.__enter__()
        self._frozen = [p for p in self.job.model.hf.parameters() if p.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.__exit__()
        for parameter in self._frozen:
            parameter.requires_grad_(True)

    def _cut(self, tap: Tap, x: torch.Tensor) -> torch.Tensor:
        """Make the site's tensor one that gradients reach; before the first site nothing needs a graph."""
        if not x.requires_grad:
            x = x.detach().clone().requires_grad_()
        elif tap.site.kind == "mlp_in":
            x = x.view_as(x)  # attention may read the same tensor; only what the MLP reads is meant
        self._seen[tap.site] = x
        return x

    def step(self, one: Pass) -> None:
        model = self.job.model
        device = model.device
        self._seen.clear()
        if self.edits:
            self.edits.cells = one.cells
        inputs: dict[str, Any] = {"input_ids": one.input_ids.to(device), "position_ids": one.position_ids.to(device)}
        with torch.inference_mode(False), torch.enable_grad():
            output = self._hooks.run(lambda: model.hf(**inputs, use_cache=False), batch=len(one.input_ids))
            example = one.cells.example
            end = output.logits.device  # not where the inputs went, if layers are on several devices
            logits = output.logits[torch.arange(len(example), device=end), self._at[example].to(end)]
            value = self._metric(logits, example.to(end))
            _check_metric(value, len(example))
            if not value.requires_grad:
                raise ActivationError(f"the metric does not depend on {', '.join(map(str, self._seen))}")
            found = torch.autograd.grad(value.sum(), list(self._seen.values()), allow_unused=True)
        self.metric[example] = value.detach().float().cpu()
        for (site, x), gradient in zip(self._seen.items(), found, strict=True):
            if gradient is None:
                raise ActivationError(f"the metric does not depend on {site}")
            for buffers, tensor in ((self.grads, gradient), (self.values, x.detach())):
                rows = tensor.reshape(-1, tensor.shape[-1]).index_select(0, one.source.to(tensor.device))
                buffers.put(site, rows, one.dest)


def _check_metric(value: Float[torch.Tensor, ...], batch: int) -> None:
    if value.shape != (batch,):
        raise PromptError(f"the metric must return one number per row, [{batch}], but returned {tuple(value.shape)}")
