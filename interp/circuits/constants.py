"""``Constants``: what optimal ablation puts in the place of each node, fitted on pairs of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xxhash
from jaxtyping import Float
from torch import Tensor

from ..directions.artefact import load_artefact, save_artefact
from ..errors import ArtefactError, CircuitError, ProvenanceError
from ..provenance import Provenance
from .graph import Graph
from .pairs import Pairs

if TYPE_CHECKING:
    from ..models import Model

_LOSSES = ("optimal", "mean", "zero")


@dataclass(frozen=True, eq=False)
class Constants:
    """One constant per node that writes, to be given as ``ablation=`` (its name in results is ``optimal``).

    Attributes:
        values: what each node writes instead, at every token, in the order of ``graph.sources``.
        metric: what was kept as high as it can be while the constants were fitted.
        losses: minus that metric, mean over the pairs of the fit, with the node alone ablated by its ``optimal``
            constant, by the ``mean`` and by ``zero``; of one entry if all nodes were fitted together around a circuit.
        fitted_on: digests of the clean prompts of the fit, on which nothing may be judged.
        details: how they were fitted.
    """

    graph: Graph
    values: Float[Tensor, "src d_model"]
    metric: str
    losses: dict[str, Float[np.ndarray, " unit"]]
    fitted_on: frozenset[str]
    provenance: Provenance
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.values) != len(self.graph.sources):
            raise CircuitError(f"{len(self.values)} constants for {len(self.graph.sources)} nodes")
        for array in self.losses.values():
            array.flags.writeable = False

    def __str__(self) -> str:
        return "optimal"

    def __repr__(self) -> str:
        o, m = (float(self.losses[k].mean()) for k in ("optimal", "mean"))
        return (
            f"Constants({len(self.values)} nodes, fitted on {len(self.fitted_on)} prompts for {self.metric}; mean loss "
            f"{o:.3g}, by mean ablation {m:.3g})"
        )

    def rows(self) -> list[dict[str, Any]]:
        """Each node (or all, if fitted together) with its loss under the constant, under the mean and under zero."""
        names = self.graph.sources if len(self.losses["optimal"]) > 1 else ("all",)
        return [{"node": n, **{k: float(self.losses[k][i]) for k in _LOSSES}} for i, n in enumerate(names)]

    def about(self) -> dict[str, Any]:
        """What a result that uses them notes: plain JSON values."""
        return {"metric": self.metric, "n_prompts": len(self.fitted_on), **self.details}

    def check(self, model: Model, pairs: Pairs) -> None:
        """Raise unless these are constants of this model, and not fitted on the pairs that are to be judged.

        Raises:
            ProvenanceError: they were fitted to another model.
            CircuitError: a pair to be judged is one that they were fitted on.
        """
        self.provenance.require_model(model.fingerprint, "the constants of optimal ablation")
        both = [i for i, digest in enumerate(digests(pairs)) if digest in self.fitted_on]
        if both:
            raise CircuitError(
                f"{len(both)} of {len(pairs)} pairs (the first is {pairs.clean.ids[both[0]]!r}) are among those that "
                "the constants were fitted on, where they look better than they are; judge on other pairs"
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything as safetensors with a JSON header."""
        fields = {
            "graph": self.graph.to_dict(), "metric": self.metric, "fitted_on": sorted(self.fitted_on),
            "details": self.details, "provenance": self.provenance.to_dict(),
        }  # fmt: skip
        losses = {f"loss.{k}": torch.from_numpy(v.copy()) for k, v in self.losses.items()}
        return save_artefact(path, "ablation_constants", {"values": self.values, **losses}, fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Constants:
        """Read what `save` wrote.

        Raises:
            ArtefactError: the file is missing, damaged or something else.
        """
        _, tensors, fields = load_artefact(path, ("ablation_constants",))
        try:
            losses = {k: tensors[f"loss.{k}"].numpy() for k in _LOSSES}
            return cls(
                Graph.from_dict(fields["graph"]), tensors["values"], fields["metric"], losses,
                frozenset(fields["fitted_on"]), Provenance.from_dict(fields["provenance"]), fields["details"],
            )  # fmt: skip
        except (KeyError, TypeError, CircuitError, ProvenanceError) as error:
            raise ArtefactError(f"the header of {os.fspath(path)!r} is damaged: {error!r}") from error


AblationLike = str | Constants


def digests(pairs: Pairs) -> list[str]:
    """A digest of each clean prompt's tokens."""
    return [xxhash.xxh3_64_hexdigest(np.ascontiguousarray(t, np.int64).tobytes()) for t in pairs.clean.tokens]


def same_ablation(own: str, given: AblationLike | None) -> AblationLike:
    """The ablation that scores were made with, to judge them by: constants have to be given again.

    Raises:
        CircuitError: there are none, or another kind of ablation is given.
    """
    if given is None:
        if own == "optimal":
            raise CircuitError("the scores were made with optimal constants, which are not stored in them; give them "
                               "again as ablation=")  # fmt: skip
        return own
    if str(given) != own:
        raise CircuitError(f"the scores were made with ablation {own!r}, so they cannot be judged with {str(given)!r}")
    return given
