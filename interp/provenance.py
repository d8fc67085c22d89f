"""``Provenance``: where a result came from. Every artefact carries one, and refuses another model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import ProvenanceError


@dataclass(frozen=True)
class Provenance:
    """Where a value came from; plain strings and numbers, so that it survives any file format.

    ``model`` is the fingerprint (hash of weights and config); ``model_id`` is only what the user typed.
    Hashes are ``None`` where there is nothing to hash (a model without a tokenizer, say).
    """

    model: str
    model_id: str
    revision: str | None = None
    tokenizer: str | None = None
    chat_template: str | None = None
    bos: str | None = None
    dtype: str | None = None
    prompts: str | None = None
    code: str | None = None
    seed: int | None = None
    command: str | None = None

    def require_model(self, fingerprint: str, what: str) -> None:
        """Raise unless this artefact came from the model with ``fingerprint``.

        >>> Provenance(model="a1", model_id="gpt2").require_model("b2", what="direction.safetensors")
        Traceback (most recent call last):
        interp.errors.ProvenanceError: direction.safetensors was made with model a1 ('gpt2'), not with b2; load the \
model it came from, or make it again with this one
        """
        if self.model != fingerprint:
            raise ProvenanceError(
                f"{what} was made with model {self.model} ({self.model_id!r}), not with {fingerprint}; "
                "load the model it came from, or make it again with this one"
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Provenance:
        """Back from `to_dict`; unknown or missing fields raise, so that no provenance is half read."""
        names = {f.name for f in dataclasses.fields(cls)}
        missing = {"model", "model_id"} - data.keys()
        unknown = data.keys() - names
        if missing or unknown:
            raise ProvenanceError(
                f"provenance has missing fields {sorted(missing)} and unknown fields {sorted(unknown)}"
            )
        return cls(**data)

    def replace(self, **changes: Any) -> Provenance:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@cache
def code_version() -> str:
    """The version of this package and a hash of its source, so that two states of a checkout are told apart.

    >>> from interp import __version__
    >>> code_version().startswith(__version__ + "+")
    True
    """
    from xxhash import xxh3_64

    from . import __version__

    root, digest = Path(__file__).parent, xxh3_64()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"
