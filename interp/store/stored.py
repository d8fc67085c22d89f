"""What is handed to `StoreWriter.commit`, checked against the plan and made into the tensors of a shard file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import StoreMismatchError
from ..sites import Site
from .manifest import Identity
from .plan import ShardPlan
from .quantise import Quantised, cast_for_storage, quantisation_error, quantise, stored_dtype
from .rows import RowIndex
from .shardfile import scale_name

# Rows by site; three spellings, because a `Mapping` is not covariant in its keys.
SiteRows = (
    Mapping[Site, Tensor | Quantised] | Mapping[str, Tensor | Quantised] | Mapping[Site | str, Tensor | Quantised]
)


@dataclass(frozen=True)
class StoredTensors:
    """The tensors of one shard file, in stored order, and the relative int8 error by site where it was measured."""

    tensors: dict[str, Tensor]
    int8_error: dict[str, float] | None


def stored_tensors(identity: Identity, shard: ShardPlan, tensors: SiteRows) -> StoredTensors:
    """Check sites and shapes, then cast or quantise.

    Raises:
        StoreMismatchError: a site too many or too few, or a shape that was not planned.
        ActivationError: a finite number does not fit the stored dtype.
    """
    given = {str(Site.parse(site)): tensor for site, tensor in tensors.items()}
    widths = identity.widths()
    if given.keys() != widths.keys():
        raise StoreMismatchError(
            f"shard {shard.k} needs the sites {', '.join(widths)}; got {', '.join(given) or 'none'}"
        )
    for site, width in widths.items():
        tensor = given[site]
        shape = list(tensor.values.shape if isinstance(tensor, Quantised) else tensor.shape)
        if shape != [shard.rows, width]:
            raise StoreMismatchError(
                f"shard {shard.k}, site {site} has shape {shape}, the plan says {[shard.rows, width]}"
            )
    if identity.dtype == "int8":
        return _as_int8({site: given[site] for site in widths})
    values = {}
    for site in widths:
        tensor, what = given[site], f"shard {shard.k}, site {site}"
        if isinstance(tensor, Quantised):
            raise StoreMismatchError(f"{what} is int8, but the store holds {identity.dtype}")
        values[site] = cast_for_storage(tensor, stored_dtype(identity.dtype), what)
    return StoredTensors(values, None)


def check_index(shard: ShardPlan, index: RowIndex) -> None:
    """Raise `StoreMismatchError` unless the rows are those planned for the shard, in the order of the examples."""
    if len(index) != shard.rows:
        raise StoreMismatchError(f"shard {shard.k} is planned with {shard.rows} rows, its index has {len(index)}")
    example = index.example
    if len(example) and (example.min() < shard.example_start or example.max() >= shard.example_stop):
        raise StoreMismatchError(
            f"shard {shard.k} holds examples {shard.example_start}..{shard.example_stop - 1}, "
            f"its index has {example.min()}..{example.max()}"
        )
    if (example[1:] < example[:-1]).any():
        raise StoreMismatchError(f"the rows of shard {shard.k} are not in the order of the examples")


def _as_int8(given: Mapping[str, Tensor | Quantised]) -> StoredTensors:
    scales, values, errors = {}, {}, {}
    for site, tensor in given.items():
        if isinstance(tensor, Quantised):
            quantised, error = tensor, tensor.error
        else:
            quantised = quantise(tensor)
            error = quantisation_error(tensor, quantised)
        if error is not None:
            errors[site] = error
        scales[scale_name(site)], values[site] = quantised.scale, quantised.values
    # Scales first: float32 before int8 keeps every tensor aligned in the file.
    return StoredTensors({**scales, **values}, errors or None)
