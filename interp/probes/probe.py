"""``Probe``: a direction with a bias, so that it gives the log-odds of a class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from ..directions.artefact import load_artefact, save_artefact
from ..directions.direction import Direction
from ..errors import ArtefactError
from ..provenance import Provenance
from ..sites import Site
from .solver import fit_logistic
from .standardise import moments


@dataclass(frozen=True, eq=False, repr=False)
class Probe:
    """A linear probe: log-odds of ``classes[1]`` are ``direction.scale * direction(x) + bias``.

    ``mean`` and ``scale`` are those of the features it was fitted on, for reading weights in units of spread; the
    log-odds have them built in. An activation counts as ``classes[1]`` where its log-odds are above ``threshold``.

    >>> import torch
    >>> x = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    >>> truth, made = torch.tensor([False, False, True, True]), Provenance("a1", "tiny")
    >>> probe = Probe.fit(x, truth, ("low", "high"), "resid_post.0", "last", made)
    >>> probe.predict(x)
    ['low', 'low', 'high', 'high']
    """

    direction: Direction
    bias: float
    mean: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    classes: tuple[Any, Any]
    threshold: float = 0.0

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "row d"],
        truth: Bool[Tensor, " row"],
        classes: tuple[Any, Any],
        site: Site | str,
        mark: str,
        provenance: Provenance,
        *,
        C: float = 1.0,
        tol: float = 1e-5,
    ) -> Probe:
        """Fit on all rows: standardise, then L2 logistic regression.

        Raises:
            SplitError: one class only.
            ConvergenceError, ActivationError: see `fit_logistic`.
        """
        mean, scale = moments(features)
        fits = fit_logistic(((features.double() - mean) / scale)[None], truth[None, None].double(), C=C, tol=tol)
        weights = fits.coef[0, 0] / scale
        direction = Direction.of(weights.cpu(), site, mark, "logistic", provenance)
        bias = float(fits.intercept[0, 0] - weights @ mean)
        return cls(direction, bias, mean.cpu(), scale.cpu(), classes)

    @property
    def site(self) -> Site:
        """Where it reads."""
        return self.direction.site

    @property
    def mark(self) -> str:
        """The position that it was fitted at."""
        return self.direction.mark

    def __repr__(self) -> str:
        low, high = self.classes
        of = f"{len(self.mean)} numbers; of model {self.direction.provenance.model_id!r}"
        return f"Probe({self.site} at {self.mark}: {high!r} against {low!r}; {of})"

    def __call__(self, x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows"]:
        """Log-odds of ``classes[1]``."""
        return self.direction.scale * self.direction(x) + self.bias

    def predict(self, x: Float[Tensor, "row d"]) -> list[Any]:
        """The class of each row."""
        return [self.classes[int(above)] for above in self(x) > self.threshold]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as safetensors; `Direction.load` reads the same file."""
        fields = {
            **self.direction.fields(),
            "bias": self.bias,
            "classes": list(self.classes),
            "threshold": self.threshold,
        }
        tensors = {"unit": self.direction.unit, "mean": self.mean, "scale": self.scale}
        return save_artefact(path, "probe", tensors, fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model_fingerprint: str | None = None) -> Probe:
        """Read what `save` wrote.

        Args:
            path: the file.
            model_fingerprint: of the model it is meant for (``model.fingerprint``); ``None`` skips the check.

        Raises:
            ProvenanceError: it was made with another model.
            ArtefactError: the file is missing, damaged, or something else.
        """
        where = os.fspath(path)
        _, tensors, fields = load_artefact(path, ("probe",))
        direction = Direction.from_fields(tensors, fields, where, model_fingerprint)
        try:
            low, high = fields["classes"]
            mean, scale = tensors["mean"], tensors["scale"]
            return cls(direction, float(fields["bias"]), mean, scale, (low, high), float(fields["threshold"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{where!r} lacks or garbles a field: {error!r}") from error
