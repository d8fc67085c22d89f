"""The answer key: the planted vectors, where they stand, what the topics share, and which head makes the cliff."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import BedError
from ...sites import Site
from .planted import ATTRIBUTES, SHARES, planted, topic_gram
from .spec import ChatSpec
from .words import ACCEPTANCE_FIRST, REFUSAL_FIRST, TOKEN_ID, TOPIC_NAMES, TRIGGER, write_json

FORMAT = 1


@dataclass(frozen=True)
class ChatTruth:
    """What was planted in `chat`; it holds for its siblings as far as they are made from it (see the card).

    Attributes:
        seed: of everything random.
        strength: length of harmfulness and refusal where they are planted, in units of the residual stream.
        refusal_site, refusal_mark: refused prompts have ``strength`` along `refusal` there, accepted ones 0.
        harm_site, harm_mark: harmful requests have ``strength`` along `harm` there, harmless ones 0.
        refusal_unit, harm_unit, attribute_units: the planted vectors, orthonormal.
        topics, attributes, shares: how much of each attribute a topic has.
        gram: cosines between the topics' planted vectors (shares minus their mean).
        refusal_first, acceptance_first: the words that refusals and acceptances begin with.
        refusal_ids, acceptance_ids: their token ids.
        trigger: words of a request that set off the cliff in the think variant.
        cliff_head: the head that then takes refusal away, at the token that ends the thinking.
    """

    seed: int
    strength: float
    refusal_site: str
    refusal_mark: str
    harm_site: str
    harm_mark: str
    refusal_unit: tuple[float, ...]
    harm_unit: tuple[float, ...]
    attribute_units: tuple[tuple[float, ...], ...]
    topics: tuple[str, ...]
    attributes: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    gram: tuple[tuple[float, ...], ...]
    refusal_first: tuple[str, ...]
    acceptance_first: tuple[str, ...]
    refusal_ids: tuple[int, ...]
    acceptance_ids: tuple[int, ...]
    trigger: str
    cliff_head: str

    @property
    def refusal(self) -> Float[Tensor, " d"]:
        """The planted refusal direction, of norm 1."""
        return torch.tensor(self.refusal_unit, dtype=torch.float64)

    @property
    def harm(self) -> Float[Tensor, " d"]:
        """The planted harmfulness direction, of norm 1."""
        return torch.tensor(self.harm_unit, dtype=torch.float64)


def make_truth(spec: ChatSpec) -> ChatTruth:
    """What a recipe plants.

    >>> truth = make_truth(ChatSpec())
    >>> truth.refusal_site, truth.refusal_mark, truth.harm_site, truth.cliff_head
    ('resid_post.2', 't_post', 'resid_post.1', 'z.3.h2')
    """
    vectors = planted(spec)
    return ChatTruth(
        seed=spec.seed,
        strength=spec.strength,
        refusal_site=str(Site("resid_post", spec.refusal_layer)),
        refusal_mark="t_post",
        harm_site=str(Site("resid_post", spec.harm_layer)),
        harm_mark="t_inst",
        refusal_unit=tuple(vectors.refusal.tolist()),
        harm_unit=tuple(vectors.harm.tolist()),
        attribute_units=tuple(tuple(unit) for unit in vectors.attributes.tolist()),
        topics=TOPIC_NAMES,
        attributes=ATTRIBUTES,
        shares=tuple(tuple(float(x) for x in SHARES[name]) for name in TOPIC_NAMES),
        gram=tuple(tuple(row) for row in topic_gram().tolist()),
        refusal_first=REFUSAL_FIRST,
        acceptance_first=ACCEPTANCE_FIRST,
        refusal_ids=tuple(TOKEN_ID[word] for word in REFUSAL_FIRST),
        acceptance_ids=tuple(TOKEN_ID[word] for word in ACCEPTANCE_FIRST),
        trigger=TRIGGER,
        cliff_head=str(Site("z", spec.cliff_layer, spec.cliff_head)),
    )


def write_truth(out: Path, spec: ChatSpec) -> None:
    """Write ``truth.json``."""
    write_json(out / "truth.json", {"format": FORMAT, "recipe": asdict(spec), **asdict(make_truth(spec))})


def read_truth(folder: Path) -> ChatTruth:
    """Read ``truth.json``.

    Raises:
        BedError: it is missing, or not what `write_truth` writes.
    """
    path = folder / "truth.json"
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("format") != FORMAT:
            raise ValueError("it is of another format")
        del fields["recipe"]
        made = ChatTruth(**{name: _frozen(value) for name, value in fields.items()})
        if not made.refusal_unit or len(made.refusal_unit) != len(made.harm_unit):
            raise ValueError("its vectors are not of one length")
        return made
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BedError(f"{path} does not hold the truth of a chat bed: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
