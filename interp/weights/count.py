"""How many weights of a model are not what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    from ..models import Model


def weights_changed(before: Model, after: Model) -> int:
    """Numbers among the weights that differ, bit for bit; tied weights count once.

    Raises:
        ModelError: models whose weights have other names or shapes.

    >>> from interp import load_model, testbeds
    >>> model = load_model(testbeds.path("induction"))
    >>> twin = model.copy()
    >>> _ = twin.hf.get_input_embeddings().weight.data[0, :3].add_(1)
    >>> weights_changed(model, twin)
    3
    """
    old, new = (dict(m.hf.named_parameters(remove_duplicate=False)) for m in (before, after))
    if {k: v.shape for k, v in old.items()} != {k: v.shape for k, v in new.items()}:
        raise ModelError(f"the weights of {before.id!r} and {after.id!r} differ in name or shape, so none compare")
    changed, seen = 0, set()
    for name, weight in new.items():
        if weight.data_ptr() not in seen:
            seen.add(weight.data_ptr())
            changed += int((weight.detach() != old[name].detach().to(weight.device)).sum())
    return changed
